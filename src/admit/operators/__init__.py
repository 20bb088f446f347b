"""Who runs the house: operators, how they sign in, what their roles and tokens allow, and what they changed.

Not here: the people of apps (accounts) and how those sign in (signin).
"""
