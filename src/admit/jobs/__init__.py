"""Durable work that is due: enqueued with the fact that asks for it, claimed, tried, tried again, done.

Not here: what the work is. Handlers are given to the worker by the gateway.
"""
