"""People who live here and may not come in now: why, and what they are told."""

from typing import Literal

import msgspec

from admit.accounts.users import User
from admit.errors import DEVICE_LIMIT_REACHED, USER_DEACTIVATED, USER_LOCKED, Refused

BarredReason = Literal["deactivated", "locked", "device_limit"]

_TOLD: dict[BarredReason, tuple[str, str]] = {
    "deactivated": (USER_DEACTIVATED, "This account is deactivated. Ask the people who run this app."),
    "locked": (USER_LOCKED, "This account is locked. Ask the people who run this app."),
    "device_limit": (
        DEVICE_LIMIT_REACHED,
        "This account is in use on as many devices as it may be. Sign out on one of them first.",
    ),
}


class Barred(msgspec.Struct, frozen=True):
    """The person is known, and an operator has locked them out, or the device is one more than allowed."""

    reason: BarredReason


def barred_of(user: User) -> Barred | None:
    """Why `user` may not come in on any device, if so."""
    if user.deactivated_at is not None:
        return Barred("deactivated")
    return None if user.locked_at is None else Barred("locked")


def refusal_of(barred: Barred) -> Refused:
    """What the person is told."""
    code, sentence = _TOLD[barred.reason]
    return Refused(sentence, code=code)
