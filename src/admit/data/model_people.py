"""Who has written an object, or whom a fact is about, as web hooks of the data model see them. Pure.

A fact is the data of an event: `user`, `device` and `session` as the catalog has them.
"""

from collections.abc import Mapping
from typing import Any

from admit.data.model import PEOPLE, Path
from admit.data.people_paths import MEMBERS
from admit.events.hook_filters import member

Facts = Mapping[str, Any]

_PLACES = {"user": "user", "device": "device", "session": "session", "enrollment": "session"}
"""Where in a fact the members of each stand."""
_RENAMED = {
    ("user", "id"): "user_id",
    ("user", "user_type"): "type",
    ("device", "id"): "identifier",
}


def place_of(model: str, path: Path) -> Path:
    """Where in a fact that stands which `path` names in a hook of `model`.

    Whoever is behind a session stands beside it: `session.user.email` is `user.email`.
    """
    while path and path[0] in MEMBERS and path[0] in MEMBERS[model]:
        model, path = path[0], path[1:]
    if not path:
        return (_PLACES[model],)
    return _PLACES[model], _RENAMED.get((model, path[0]), path[0]), *path[1:]


def told(model: str, facts: Facts) -> dict[str, Any] | None:
    """The object of one of PEOPLE that `facts` are about, without those that it leads to; None: there is
    none."""
    found = facts.get(_PLACES[model])
    if not isinstance(found, Mapping):
        return None
    members = dict(found)
    if model == "user":
        members["user_type"] = members.pop("type", None)
        return {"id": found.get("user_id"), "type": model, **members}
    if model == "device":
        return {"id": found.get("identifier"), "type": model, **members}
    return {"type": model, **members}


def embed(into: dict[str, Any], model: str, path: Path, facts: Facts) -> None:
    """Puts what `path` leads to from an object of `model` into its members, under the names of the path.

    Of a path that ends in a member of somebody else, only that member is told.
    """
    for place, name in enumerate(path):
        if name not in MEMBERS or (name not in MEMBERS[model] if model else name not in PEOPLE):
            if place:
                value = member(facts, place_of(model, path[place:]))
                _lay(into, path[place:], value)
            return
        model = name
        here = into.get(name)
        if place == len(path) - 1:
            into[name] = told(name, facts)
            return
        if not isinstance(here, dict):
            whole = told(name, facts)
            here = into[name] = None if whole is None else {"id": whole.get("id"), "type": name}
        if here is None:
            return
        into = here


def _lay(into: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        inner = into.get(name)
        inner = dict(inner) if isinstance(inner, Mapping) else {}
        into[name] = inner
        into = inner
    into[path[-1]] = value
