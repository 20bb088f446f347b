"""What is told of a web hook of the data model: which events, and which of them. Pure."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from admit.data.model import Hook, HookType, Model, ModelOf
from admit.data.model_people import place_of
from admit.events.hook_filters import OfHook

_OBJECTS: Mapping[HookType, tuple[str, ...]] = {"ready": ("object.ready",), "update": ("object.updated",)}
_PEOPLE: Mapping[tuple[str, HookType], tuple[str, ...]] = {
    ("user", "ready"): ("user.enrolled", "user.updated"),
    ("user", "update"): ("user.enrolled", "user.updated"),
    ("device", "ready"): ("device.enrolled",),
    ("device", "update"): ("device.enrolled",),
    ("session", "ready"): ("session.started",),
    ("session", "update"): (
        "session.started",
        "session.locked",
        "session.unlocked",
        "session.wiped",
        "session.wipe_confirmed",
        "session.ended",
    ),
    ("enrollment", "ready"): ("device.enrolled",),
    ("enrollment", "update"): ("device.enrolled",),
}
"""The facts that save one of those who live here."""
_ONCE: Mapping[str, Literal["user", "device", "session"]] = {
    "user": "user",
    "device": "device",
    "session": "session",
    "enrollment": "session",
}


class Told(msgspec.Struct, frozen=True):
    """What a hook is told of: events of `types`, as `hook` chooses them."""

    types: tuple[str, ...]
    hook: OfHook


def told_of(model: Model, name: str) -> Told:
    """What the hook of this name is told of. One that the model does not have is told of nothing."""
    found = model.hook(name)
    if found is None:
        return Told(("object.ready", "object.updated"), OfHook(name=name))
    of, hook = found
    if not of.of_people:
        return Told(_OBJECTS[hook.type], OfHook(name=name, model=of.name))
    return Told(_PEOPLE[of.name, hook.type], _of_people(of, hook))


def _of_people(of: ModelOf, hook: Hook) -> OfHook:
    return OfHook(
        name=hook.name,
        model=of.name,
        # Without a session there is none of them, whatever a hook requires.
        present=(place_of(of.name, ()), *(place_of(of.name, path) for path in hook.required)),
        embedded=hook.embedded,
        once=_ONCE[of.name] if hook.type == "ready" else "",
    )
