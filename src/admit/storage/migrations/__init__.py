"""Numbered migrations, forward-only, one text for both databases; never edited after a release.

`python -m tests.draft_migration NAME` writes the next one from the tables that the rooms declare.
"""
