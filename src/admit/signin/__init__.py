"""Who is at the door? Every sign-in method checks its credential and ends in a Proof.

Not here: whether that person may come in (enrollment).
"""
