"""The Manager: the pages where operators live. A page is a client of the admin API, in this process.

What a page shows it has asked of an operation, and what it changes it has told one, with the scopes of the
operator who looks at it: so the API, the commands and the pages can do the same, and allow the same.
"""
