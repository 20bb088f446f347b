"""What happened: facts that were committed, in a total order per app.

Not here: who is told (webhooks) and how durable work is done (jobs).
"""
