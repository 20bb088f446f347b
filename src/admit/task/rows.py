"""What a change makes of a row, as far as a task sees it: what the server will do, foretold. Pure."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from admit.task.moments import ms_of
from admit.task.wire import Move, SessionRow, UserRow

EMAIL_CHARACTERS_MAX = 254
NAME_CHARACTERS_MAX = 200

_AFTER_MOVE = {"lock": "LOCKED", "reauthenticate": "LOCKED", "unlock": "ENROLLED", "wipe": "RESET"}


def new_row(user_id: str, now: int) -> UserRow:
    """Somebody who is about to be created: without a uid, which the server gives."""
    return UserRow(
        uid="",
        user_id=user_id,
        email=_email_in(user_id),
        email_verified=False,
        name="",
        type="",
        data=None,
        created_at=now,
        updated_at=now,
        last_login_at=None,
        valid_until=None,
        eval_days_left=0,
        deactivated_at=None,
        locked_at=None,
        way_in="api",
        version="",
    )


def with_entry(row: UserRow, entry: dict[str, Any], now: int) -> UserRow:
    """`row` after an entry of POST /users."""
    changed: dict[str, Any] = {"updated_at": now}
    if "type" in entry:
        changed["type"] = entry["type"]
    if "validUntil" in entry:
        until = entry["validUntil"]
        changed["valid_until"] = None if until is None else ms_of(datetime.fromisoformat(until))
    if "evalDaysLeft" in entry:
        changed["eval_days_left"] = entry["evalDaysLeft"]
    if "deactivated" in entry:
        since = now if row.deactivated_at is None else row.deactivated_at
        changed["deactivated_at"] = since if entry["deactivated"] else None
    if "data" in entry:
        data = entry["data"] or {}
        changed["data"] = None if entry["data"] is None else msgspec.json.encode(data)
        if isinstance(name := data.get("displayName"), str):
            changed["name"] = name.strip()[:NAME_CHARACTERS_MAX]
        if isinstance(email := data.get("email"), str) and not row.email:
            changed["email"] = _email_in(email)
    return replace(row, **changed)


def with_lock(row: UserRow, locked: bool, now: int) -> UserRow:
    """`row` once the user is locked, or is not any more."""
    if not locked:
        return replace(row, locked_at=None)
    return replace(row, locked_at=now if row.locked_at is None else row.locked_at)


def moved_to(row: SessionRow, move: Move) -> SessionRow:
    """`row` after a move."""
    return replace(row, state=_AFTER_MOVE[move])


def matches(row: UserRow, search: str, type: str, active: bool | None) -> bool:
    """Whether a search finds the row: each word of it begins a word of the userId, the email or the name."""
    is_active = row.deactivated_at is None
    if type not in ("", row.type) or active not in (None, is_active):
        return False
    words = f"{row.user_id} {row.email} {row.name}".casefold().split()
    return all(any(word.startswith(term) for word in words) for term in search.casefold().split())


def _email_in(text: str) -> str:
    name, at, host = text.partition("@")
    looks_like_email = name and at and host and " " not in text and "@" not in host
    return text if looks_like_email and len(text) <= EMAIL_CHARACTERS_MAX else ""
