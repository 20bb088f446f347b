"""Telling others: endpoints of the operator, the deliveries of events to them, and their health.

Not here: what happened (events) and how durable work is done (jobs).
"""
