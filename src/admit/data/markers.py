"""Markers: how far a client is. Pure.

Clients keep a marker as the revision of the server and hand it back; to them it is a text without a meaning.
"""

import re
from hashlib import sha256
from typing import Self

import msgspec

_FORM = re.compile(r"([A-Za-z0-9_-]{1,80})\.([0-9a-f]{12}|)\.([0-9]{1,18})\.([0-9]{1,18})")
_SIGN_CHARACTERS = 12


class Marker(msgspec.Struct, frozen=True):
    """Everything up to the revision `private` of the own realm and `public` of the public one.

    `epoch` is that of the app's log, which is another once a copy was restored. `sign` tells of which private
    realm it speaks ("" for strangers): who was deleted and returns has the same userId and another realm.
    """

    epoch: str
    sign: str
    private: int
    public: int

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """The marker that `text` tells; None: it is none of ours."""
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            return None
        epoch, sign, private, public = found.groups()
        return cls(epoch, sign, int(private), int(public))

    def __str__(self) -> str:
        return f"{self.epoch}.{self.sign}.{self.private}.{self.public}"


def sign_of(realm: str | None) -> str:
    """The sign of a private realm; None: of strangers, who have none."""
    return "" if realm is None else sha256(realm.encode()).hexdigest()[:_SIGN_CHARACTERS]
