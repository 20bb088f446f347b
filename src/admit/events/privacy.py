"""What of an event says who somebody is, and the event without it."""

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from admit.events.catalog import Data, Person

PERSONAL = ("email", "name", "data")
"""The members of `user` that say who somebody is, besides the userId, which nobody could do without."""

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def impersonal(data: Data) -> Data:
    """`data` without what says who somebody is."""
    person = getattr(data, "user", None)
    if not isinstance(person, Person):
        return data
    return replace(data, user=replace(person, **dict.fromkeys(PERSONAL, UNSET)))


def without_person(data: bytes) -> bytes:
    """What `impersonal` is to data, to its JSON. Everything else stays as it was."""
    members = _decode_members(data)
    if "user" not in members:
        return data
    user = _decode_members(members["user"])
    for name in PERSONAL:
        user.pop(name, None)
    members["user"] = msgspec.Raw(_encode(user))
    return _encode(members)
