"""Why what a run wants is not made."""


class Overtaken(Exception):
    """Somebody has changed what the run relied on. The message is a sentence."""


class ChangesRefused(Exception):
    """The changes cannot be made, whoever else does what. The message is a sentence."""
