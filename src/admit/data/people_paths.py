"""What can be asked of `user`, `device`, `session` and `enrollment` in a data model. Pure."""

from collections.abc import Mapping

from admit.data.model import Path

_USER = ("id", "user_id", "uid", "user_type", "email", "name", "data")
_DEVICE = ("id", "identifier", "derived", "first_seen", "platform")
_SESSION = ("id", "ordinal")

MEMBERS: Mapping[str, tuple[str, ...]] = {
    "user": _USER,
    "device": (*_DEVICE, "user"),
    "session": (*_SESSION, "user", "device"),
    "enrollment": (*_SESSION, "user", "device", "session"),
}
"""The members of each; those that are models themselves lead on."""

OPEN = "data"
"""The member of a user in which the operator keeps what they like."""


def is_known(path: Path) -> bool:
    """Whether `path`, which begins with one of them, leads somewhere."""
    model, *rest = path
    for place, name in enumerate(rest):
        if model == "user" and name == OPEN:
            return True
        if name not in MEMBERS[model]:
            return False
        if name not in MEMBERS:
            return place == len(rest) - 1
        model = name
    return True


def all_paths(model: str) -> list[str]:
    """What may stand behind `model`, one or two names long, for suggestions."""
    found = []
    for name in MEMBERS[model]:
        found.append(name)
        found += [f"{name}.{each}" for each in MEMBERS.get(name, ())]
    return found
