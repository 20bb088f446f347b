"""Which events a web hook of the data model is about. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

OBJECT = "object."
"""What the types of events begin with that carry the name of their hook."""


class OfHook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A web hook, by its name.

    One about people has no events of its own: it is told of facts about `model` in which everything is there
    that stands at `present`, such as ("user", "email"); `once` per user, device or session, "": every time.
    With them goes what is `embedded`. `lane` and `payload` are those of the jobs that tell it; "": the lane
    of the subscriber, and none.
    """

    name: str
    model: str = ""
    present: tuple[tuple[str, ...], ...] = ()
    embedded: tuple[tuple[str, ...], ...] = ()
    once: Literal["", "user", "device", "session"] = ""
    lane: str = ""
    payload: str = ""

    def passes(self, event_type: str, data: Mapping[str, Any]) -> bool:
        """Whether an event of a type that is wanted is about the hook."""
        if event_type.startswith(OBJECT):
            return data.get("hook") == self.name
        return all(is_there(member(data, path)) for path in self.present)

    def once_key(self, data: Mapping[str, Any]) -> tuple[str, str] | None:
        """What is noted once it was told, instead of the type of the event and the device; None: nothing."""
        match self.once:
            case "":
                return None
            case "user":
                which = ""
            case "device":
                which = member(data, ("device", "identifier")) or ""
            case "session":
                which = member(data, ("session", "id")) or ""
        return f"hook {self.name}", which


def member(data: Any, path: Iterable[str]) -> Any:
    """What stands at `path`; None: nothing."""
    for name in path:
        if not isinstance(data, Mapping):
            return None
        data = data.get(name)
    return data


def is_there(value: Any) -> bool:
    """Whether a member that has `value` is filled."""
    return value is not None and value != "" and value != {"$t": "undefined"}
