"""What people keep: tables of objects by realm, how they are written, read and synced, and who is told of it.

Not here: the doors (web), and how those who are told are reached (webhooks, tasks).
"""
