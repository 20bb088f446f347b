"""What of an event says who somebody is, and the event without it.

Thin endpoints are told of it so. When the person is deleted, what the client said of the device goes too.
"""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from admit.events.catalog import Data, Device, Identity, Person, RefusedDevice
from admit.events.data_facts import DataChanged
from admit.events.object_facts import ObjectReady, ObjectUpdated

PERSONAL = ("email", "name", "data")
"""The members of `user` that say who somebody is, besides the userId, which nobody could do without."""

OF_IDENTITY = "subject"
"""The member of `identity` that says who somebody is: it may be an email, and is the same at other apps."""

OF_CLIENT = "platform"
"""The member of `device` that is as the client says, besides an identifier that is not derived."""

OF_CHANGE = "realmId"
"""The member of each of `changes` that says whose object it was. What was written in them is theirs."""

OF_OBJECT = ("value", "updates")
"""The members of each of `changes` that hold what somebody keeps."""

OF_HOOK = "object"
"""The member of an event of a web hook that holds what somebody keeps."""

KEPT_OF_HOOK = ("id", "type", "updated_at")
"""The members of that which thin endpoints are told."""

ERASED = "erased"

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def without_person(data: bytes) -> bytes:
    """The JSON of an event without what says who its person is. Everything else stays as it was."""
    members = _decode_members(data)
    if "changes" in members:
        changes = [_without(each, OF_OBJECT) for each in _decode_array(members["changes"])]
        return _encode(members | {"changes": changes})
    if OF_HOOK in members:
        kept = _decode_members(members[OF_HOOK])
        short = {name: kept[name] for name in KEPT_OF_HOOK if name in kept}
        return _encode(members | {OF_HOOK: msgspec.Raw(_encode(short))})
    if "user" not in members:
        return data
    return _encode(_without_person(members))


def erased(data: bytes) -> bytes:
    """The JSON of an event of somebody who is deleted: `without_person`, and without what their client said.

    An identifier that the client chose may be a name. The one in its place is made from when the device was
    first seen: that still tells devices of one person apart, and confirms no guess, as a hash would. Devices
    that were refused all have the same. Of what they kept nothing is left.
    """
    members = _without_person(_decode_members(data))
    if "changes" in members:
        members["changes"] = msgspec.Raw(b"[]")
    members.pop(OF_HOOK, None)
    if "device" in members:
        members["device"] = _nobodys_device(members["device"])
    return _encode(members)


def impersonal(data: Data) -> Data:
    """What `erased` is to JSON, to `data`."""
    if isinstance(data, DataChanged):
        return replace(data, changes=())
    if isinstance(data, ObjectReady | ObjectUpdated):
        return replace(data, object=UNSET)
    person, device = getattr(data, "user", None), getattr(data, "device", None)
    if isinstance(person, Person):
        data = replace(data, user=replace(person, **dict.fromkeys(PERSONAL, UNSET)))
    if isinstance(identity := getattr(data, "identity", None), Identity):
        data = replace(data, identity=replace(identity, subject=UNSET))
    if isinstance(device, Device):
        device = replace(device, platform=UNSET)
        if not device.derived:
            device = replace(device, identifier=_alias(device.first_seen), derived=True)
        data = replace(data, device=device)
    elif isinstance(device, RefusedDevice) and not device.derived:
        data = replace(data, device=replace(device, identifier=ERASED, derived=True))
    return data


def _without_person(members: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """`members` of an event without what says who its person is."""
    impersonal = {"user": PERSONAL, "identity": (OF_IDENTITY,)}
    return members | {
        part: _without(members[part], names) for part, names in impersonal.items() if part in members
    }


def _without(part: msgspec.Raw, names: Iterable[str]) -> msgspec.Raw:
    members = _decode_members(part)
    for name in names:
        members.pop(name, None)
    return msgspec.Raw(_encode(members))


def _nobodys_device(device: msgspec.Raw) -> msgspec.Raw:
    members = _decode_members(device)
    members.pop(OF_CLIENT, None)
    if bytes(members["derived"]) == b"false":
        alias = _alias(_decode_text(members["first_seen"])) if "first_seen" in members else ERASED
        members |= {"identifier": msgspec.Raw(_encode(alias)), "derived": msgspec.Raw(b"true")}
    return msgspec.Raw(_encode(members))


def _alias(first_seen: str) -> str:
    return f"{ERASED}_{first_seen}"
