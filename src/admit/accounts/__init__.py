"""Who lives here: apps, their clients and settings, users, identities, devices, sessions and tokens.

Not here: who may come in (enrollment) and how a person proves who they are (signin).
"""
