"""What led somebody to the door is spent by the login that comes of it, in the same unit.

Mailed codes, and the codes and tokens of single sign-on. What an API client vouches for is spent by nothing.
"""

from collections.abc import Sequence

import msgspec

from admit.accounts.session_opening import NoSession
from admit.accounts.session_opening import Opened as OpenedSession
from admit.enrollment.entries import Entry
from admit.signin import one_time_codes, sign_in_codes
from admit.signin.one_time_codes import Spend
from admit.signin.sign_in_codes import Completed, SpendCode
from admit.storage.transaction import Transaction


def spend(tx: Transaction, entries: Sequence[Entry]) -> list[bool]:
    """Whether each entry's credential still lets it in; those that have none to spend pass. List form."""
    mailed = {place: code for place, entry in enumerate(entries) if (code := _mailed(entry))}
    told = {place: used for place, entry in enumerate(entries) if (used := _sign_in(entry))}
    done: dict[int, bool] = {}
    if mailed:
        done |= zip(mailed, one_time_codes.spend(tx, list(mailed.values())), strict=True)
    if told:
        done |= zip(told, sign_in_codes.spend(tx, list(told.values())), strict=True)
    return [done.get(place, True) for place in range(len(entries))]


def reused(tx: Transaction, entries: Sequence[Entry]) -> list[bool]:
    """Whether somebody else has shown each entry's credential since it was spent, so that no session may come
    of it. List form; the credentials are held until the unit is over."""
    told = {place: used for place, entry in enumerate(entries) if (used := _sign_in(entry))}
    done = dict(zip(told, sign_in_codes.reused(tx, list(told.values())), strict=True))
    return [done.get(place, False) for place in range(len(entries))]


def complete(tx: Transaction, logins: Sequence[tuple[Entry, OpenedSession | NoSession | None]]) -> None:
    """A login has come of what led to each of `logins`, unless it was refused a session."""
    mailed, told = [], []
    for entry, opened in logins:
        if isinstance(opened, NoSession):
            continue
        if opened is not None and (code := _mailed(entry)):
            mailed.append(code)
        if (used := _sign_in(entry)) is not None:
            session_id = opened.session.session_id if opened is not None else ""
            told.append(Completed(**msgspec.structs.asdict(used), session_id=session_id))
    if mailed:
        one_time_codes.complete(tx, mailed)
    if told:
        sign_in_codes.complete(tx, told)


def _mailed(entry: Entry) -> Spend | None:
    """The mailed code behind `entry`, if there is one."""
    proof = entry.proof
    if proof.otp_id is None or proof.public_key is None:
        return None
    return Spend(
        app_id=entry.app.app_id,
        otp_id=proof.otp_id,
        thumbprint=proof.public_key.thumbprint,
        now=entry.now,
    )


def _sign_in(entry: Entry) -> SpendCode | None:
    """The code of single sign-on behind `entry`. Without a key it is good for one request."""
    proof = entry.proof
    if proof.sign_in_code is None:
        return None
    return SpendCode(
        app_id=entry.app.app_id,
        code_digest=proof.sign_in_code,
        thumbprint=proof.public_key.thumbprint if proof.public_key else entry.keyless,
        now=entry.now,
    )
