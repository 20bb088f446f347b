"""May they come in? One admission per unknown person, one verdict, one ledger row.

Not here: how the person proved who they are (signin) and what is kept of residents (accounts).
"""
