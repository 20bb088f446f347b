"""Commands, nouns then verbs: parse, call the admin API, print. What a server knows, it is asked for."""

from admit.cli.commands import main

__all__ = ["main"]
