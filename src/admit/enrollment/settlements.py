"""Settling: verdict, user, identity, device, session, event and ledger row are committed together."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, select, update

from admit.accounts import facts, seats, users
from admit.accounts.session_opening import Opened as OpenedSession
from admit.accounts.users import NewUser, User
from admit.enrollment import credentials, hours
from admit.enrollment.admissions import Again, Login, Opened, open_sessions
from admit.enrollment.asking import Record
from admit.enrollment.entries import Entry
from admit.enrollment.policy import Admit, Refuse, Verdict, within
from admit.enrollment.tables import admissions
from admit.events import log as event_log
from admit.events.catalog import Stranger, UserEnrolled, UserRefused
from admit.events.catalog import Verdict as ToldVerdict
from admit.events.log import Event
from admit.storage.lookups import Lookup
from admit.storage.rows import Change
from admit.storage.transaction import Transaction

LOCK_OPEN = Lookup(
    select(admissions.c.app_id, admissions.c.admission_id, admissions.c.fence).where(
        admissions.c.settled_at.is_(None)
    ),
    (admissions.c.app_id, admissions.c.admission_id),
    lock=True,
)
SETTLE = Change(
    admissions,
    (admissions.c.app_id, admissions.c.admission_id),
    (
        admissions.c.settled_at,
        admissions.c.verdict,
        admissions.c.code,
        admissions.c.message,
        admissions.c.reason,
        admissions.c.attempts,
        admissions.c.latency_ms,
        admissions.c.uid,
    ),
)
NOTE_LATE = (
    update(admissions)
    .where(admissions.c.app_id == bindparam("app"), admissions.c.admission_id == bindparam("admission"))
    .values(late=bindparam("verdict_dropped"))
)

_encode = msgspec.json.Encoder().encode


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict about the person of `entry`, and how it was reached; `record` is written with it.

    `fault`: whoever was asked had no answer.
    """

    entry: Entry
    opened: Opened
    verdict: Verdict
    attempts: int
    latency_ms: int
    now: int
    fault: bool = False
    record: Record | None = None


class Late(msgspec.Struct, frozen=True):
    """Another attempt has taken the admission over; this verdict was noted in the ledger and dropped."""


Settled = Login | Refuse | Late | Again


def settle(tx: Transaction, items: list[Settlement]) -> list[Settled]:
    """Writes everything that each verdict means. List form; a late verdict changes nothing."""
    in_time = _in_time(tx, items)
    items = _seated(tx, items, in_time)
    for place, item in enumerate(items):
        if not in_time[place]:
            tx.execute(NOTE_LATE, {**_key(item), "verdict_dropped": _word(item.verdict)})
    results: list[Settled] = [Late()] * len(items)
    uids: dict[int, str] = {}
    for place, user, result in _move_in(tx, [p for p in range(len(items)) if in_time[p]], items):
        results[place], uids[place] = result, user.uid
    for place, item in enumerate(items):
        if in_time[place] and isinstance(item.verdict, Refuse):
            event_log.record(tx, _refused(item, item.verdict))
            results[place] = item.verdict
    tx.write(SETTLE, [_outcome(item, uids.get(place)) for place, item in enumerate(items) if in_time[place]])
    for place, item in enumerate(items):
        if in_time[place]:
            tx.signal("admission", item.opened.admission_id)
            _count(tx, item)
        if item.record is not None:
            item.record.write(tx, uids.get(place), in_time=in_time[place])
    return results


def _in_time(tx: Transaction, items: Sequence[Settlement]) -> list[bool]:
    """Whether each admission is still open under the fence of its settlement. Locks those that are open."""
    keys = {(item.entry.app.app_id, item.opened.admission_id) for item in items}
    fences = {(row.app_id, row.admission_id): row.fence for row in LOCK_OPEN.rows(tx, keys)}
    return [
        fences.get((item.entry.app.app_id, item.opened.admission_id)) == item.opened.fence for item in items
    ]


def _seated(tx: Transaction, items: Sequence[Settlement], in_time: Sequence[bool]) -> list[Settlement]:
    """`items` with the verdicts that the seats of their apps and ways in allow: first come, first served."""
    asking = {
        place: (item.entry.app.app_id, item.entry.proof.way_in)
        for place, item in enumerate(items)
        if in_time[place] and _takes_seat(item.verdict)
    }
    left = seats.left_for(tx, asking.values())
    seated = list(items)
    for place, way in asking.items():
        verdict = within(left.of(*way), items[place].verdict)
        if _takes_seat(verdict):
            left.take(*way, 1)
        seated[place] = replace(items[place], verdict=verdict)
    return seated


def _takes_seat(verdict: Verdict) -> bool:
    return isinstance(verdict, Admit) and verdict.type == "prod"


def _move_in(
    tx: Transaction, places: Sequence[int], items: Sequence[Settlement]
) -> list[tuple[int, User, Settled]]:
    """Writes the users who were admitted, with their sessions and events.

    Somebody may have created the user by another way while the policy was asked. Then that user stays as it
    is, and the login is Again: it enters as a known person. So is the login of somebody whose code two keys
    have shown meanwhile: they live here from now on, and must sign in anew.
    """
    admitted = {
        place: _new_user(items[place], verdict)
        for place in places
        if isinstance(verdict := items[place].verdict, Admit)
    }
    if not admitted:
        return []
    earlier = users.create(tx, list(admitted.values()))
    results: list[tuple[int, User, Settled]] = []
    fresh: list[tuple[int, User]] = []
    for place, row in admitted.items():
        known = earlier.get((row.user.app_id, row.user.user_id))
        if known is not None:
            results.append((place, known, Again()))
        else:
            fresh.append((place, row.user))
    reused = credentials.reused(tx, [items[place].entry for place, _ in fresh])
    for (place, user), is_reused in zip(fresh, reused, strict=True):
        if is_reused:
            _record_enrollment(tx, items[place], user, None)
            results.append((place, user, Again()))
    fresh = [each for each, is_reused in zip(fresh, reused, strict=True) if not is_reused]
    sessions_opened = open_sessions(tx, [(items[place].entry, user) for place, user in fresh], newcomers=True)
    for (place, user), opened in zip(fresh, sessions_opened, strict=True):
        session = opened if isinstance(opened, OpenedSession) else None
        _record_enrollment(tx, items[place], user, session)
        results.append((place, user, Login(user=user, session=session.session if session else None)))
    return results


def _new_user(item: Settlement, verdict: Admit) -> NewUser:
    app, proof = item.entry.app, item.entry.proof
    user = users.new_user(
        app_id=app.app_id,
        user_id=proof.user_id,
        email=proof.email or verdict.email,
        email_verified=proof.email_verified,
        name=verdict.name or proof.name,
        type=verdict.type,
        data=None if verdict.data is None else _encode(verdict.data).decode(),
        eval_days=app.settings.eval_days,
        way_in=proof.way_in,
        now=item.now,
    )
    return NewUser(user, proof.issuer, proof.subject)


def _record_enrollment(tx: Transaction, item: Settlement, user: User, opened: OpenedSession | None) -> None:
    sign_in = item.entry.proof.sign_in
    verdict = ToldVerdict(
        type=user.type, source=item.entry.policy.kind, admission_id=item.opened.admission_id
    )
    if opened:
        facts.record_start(tx, opened, sign_in, item.now, verdict=verdict)
    else:
        enrolled = UserEnrolled(user=facts.person_of(user), sign_in=sign_in, verdict=verdict)
        facts.record(tx, user, enrolled, item.now)


def _refused(item: Settlement, verdict: Refuse) -> Event:
    data = UserRefused(
        user=Stranger(user_id=item.entry.proof.user_id),
        sign_in=item.entry.proof.sign_in,
        verdict=ToldVerdict(
            type="refused",
            source=item.entry.policy.kind,
            admission_id=item.opened.admission_id,
            code=verdict.code,
        ),
    )
    return Event(app_id=item.entry.app.app_id, uid=None, occurred_at=item.now, data=data)


def _outcome(item: Settlement, uid: str | None) -> tuple[object, ...]:
    """A row for SETTLE."""
    verdict = item.verdict
    refusal = verdict if isinstance(verdict, Refuse) else None
    return (
        item.entry.app.app_id,
        item.opened.admission_id,
        item.now,
        _word(verdict),
        refusal.code if refusal else "",
        refusal.message if refusal else "",
        verdict.reason,
        item.attempts,
        item.latency_ms,
        uid,
    )


def _count(tx: Transaction, item: Settlement) -> None:
    verdict = item.verdict
    unanswered = item.fault and isinstance(verdict, Refuse)
    hours.count(
        tx,
        item.entry.app.app_id,
        "unanswered" if unanswered else _word(verdict),
        asked=item.attempts > 0,
        fault=item.fault,
        latency_ms=item.latency_ms,
        now=item.now,
    )


def _word(verdict: Verdict) -> Literal["eval", "prod", "refused"]:
    return verdict.type if isinstance(verdict, Admit) else "refused"


def _key(item: Settlement) -> dict[str, object]:
    return {"app": item.entry.app.app_id, "admission": item.opened.admission_id}
