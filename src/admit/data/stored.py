"""An object as it is stored. Pure."""

import msgspec

Place = tuple[str, str]
"""A table and a key in it."""


class Row(msgspec.Struct, frozen=True):
    """An object as it is stored. `revision` 0: there has never been any. `size`: bytes; 0: it was deleted.

    `writer`: the client that has exactly this; with `~` before it: the client that has written it, and may
    have something else; "": nobody. `text`: its JSON; None where it is deleted, or was not looked at.
    """

    revision: int = 0
    writer: str = ""
    size: int = 0
    text: str | None = None

    @property
    def is_there(self) -> bool:
        """Whether it exists."""
        return self.size > 0

    @property
    def is_deleted(self) -> bool:
        """Whether it has existed."""
        return self.revision > 0 and self.size == 0


NEVER_THERE = Row()
