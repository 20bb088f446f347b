"""How events are told of on pages. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from admit.web.events_api import EventView

TONES: Mapping[str, str] = {"prod": "good", "eval": "plum", "refused": "bad"}
_ORDINALS = {1: "first", 2: "second", 3: "third"}


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An event as a list has it. `about`: the person, the URL of a web hook or the table; "" nothing of it.

    `badge`: its verdict, with `tone`. `note`: a few words more.
    """

    id: str
    type: str
    at: int
    about: str = ""
    uid: str = ""
    badge: str = ""
    tone: str = ""
    note: str = ""
    sequence: str = ""


def told(event: EventView) -> Told:
    """What a list says of an event."""
    data = event.data
    user, verdict = data.get("user") or {}, data.get("verdict") or {}
    badge = verdict.get("type", "")
    return Told(
        id=event.id,
        type=event.type,
        at=round(datetime.fromisoformat(event.timestamp).timestamp() * 1_000),
        about=user.get("user_id", "") or _about_nobody(data),
        uid=user.get("uid", ""),
        badge=badge,
        tone=TONES.get(badge, ""),
        note=_note(data),
        sequence=data.get("sequence", ""),
    )


def _about_nobody(data: Mapping[str, Any]) -> str:
    if endpoint := data.get("endpoint"):
        return str(endpoint.get("description") or endpoint.get("url", ""))
    if changes := data.get("changes"):
        tables = sorted({each.get("table", "") for each in changes})
        return ", ".join(tables[:3]) + (" …" if len(tables) > 3 else "")
    return str(data.get("hook", ""))


def _note(data: Mapping[str, Any]) -> str:
    parts = []
    device, session = data.get("device") or {}, data.get("session") or {}
    if device.get("platform"):
        parts.append(str(device["platform"]))
    if device.get("first_for_user"):
        parts.append("first device")
    elif session.get("ordinal"):
        parts.append(f"{_ordinal(session['ordinal'])} session here")
    for name in ("reason", "code"):
        if (value := data.get(name) or (data.get("verdict") or {}).get(name)) and isinstance(value, str):
            parts.append(value)
    if changed := data.get("changed"):
        parts.append("changed: " + ", ".join(map(str, changed)))
    return ", ".join(parts)


def _ordinal(number: int) -> str:
    return _ORDINALS.get(number, f"{number}th")
