"""Admissions: one open for each unknown person of an app; settled, they stay as the ledger of decisions.

The two units of a first login, both in list form. `enter` spends the credential and finds out whether the
person is known, unknown and ours to decide, or being decided by a rival; `settle` (settlements.py) writes
everything that a verdict means.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import and_, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from admit.accounts import facts, session_opening, users
from admit.accounts.apps import App
from admit.accounts.keys import PublicKey
from admit.accounts.session_opening import NoSession, OpenSession
from admit.accounts.session_opening import Opened as OpenedSession
from admit.accounts.sessions import Session
from admit.accounts.tables import users as users_table
from admit.accounts.users import Key, User
from admit.enrollment.barred import Barred, barred_of
from admit.enrollment.tables import admissions
from admit.signin import one_time_codes
from admit.signin.one_time_codes import Spend
from admit.signin.proof import Proof
from admit.storage.lookups import Lookup
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

CLOCK_LEAP_MS = 60_000
"""How far apart the budgets of policies and the clocks of honest nodes may be."""

OPEN_FOR = Lookup(
    select(
        admissions.c.app_id,
        admissions.c.user_id,
        admissions.c.admission_id,
        admissions.c.fence,
        admissions.c.lease_until,
        users_table.c.uid,
    )
    .select_from(
        admissions.outerjoin(
            users_table,
            and_(users_table.c.app_id == admissions.c.app_id, users_table.c.user_id == admissions.c.user_id),
        )
    )
    .where(admissions.c.settled_at.is_(None)),
    (admissions.c.app_id, admissions.c.user_id),
)
TAKE_OVER = (
    update(admissions)
    .where(
        admissions.c.app_id == bindparam("app"),
        admissions.c.admission_id == bindparam("admission"),
        admissions.c.fence == bindparam("seen_fence"),
        admissions.c.settled_at.is_(None),
    )
    .values(
        fence=admissions.c.fence + 1,
        lease_until=bindparam("until"),
        # The ledger tells who has decided in the end, and by what: the policy may be another by now.
        method=bindparam("its_method"),
        policy=bindparam("its_policy"),
        policy_version=bindparam("its_policy_version"),
        input_digest=bindparam("its_input_digest"),
    )
)
GIVE_BACK = (
    update(admissions)
    .where(
        admissions.c.app_id == bindparam("app"),
        admissions.c.admission_id == bindparam("admission"),
        admissions.c.fence == bindparam("seen_fence"),
        admissions.c.settled_at.is_(None),
    )
    .values(lease_until=0)
)
RELEASE_ALL = update(admissions).where(admissions.c.settled_at.is_(None)).values(lease_until=0)

OPEN = Insertion(insert(admissions).on_conflict_do_nothing())
WITHDRAW = delete(admissions).where(
    admissions.c.app_id == bindparam("app"), admissions.c.admission_id == bindparam("admission")
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with a proof who wants in. `admission_id` is used if this entry opens an admission."""

    app: App
    proof: Proof
    admission_id: str
    input_digest: str
    now: int
    lease_until: int
    refresh_until: int


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A resident who is in. `session` is None when the client brought no public key."""

    user: User
    session: Session | None


class CredentialGone(msgspec.Struct, frozen=True):
    """The code was spent by another key, completed, or has expired meanwhile."""


class Opened(msgspec.Struct, frozen=True):
    """Unknown, and ours to decide until the lease ends. `fence` proves it when the verdict is settled."""

    admission_id: str
    fence: int


class Awaited(msgspec.Struct, frozen=True):
    """Unknown, and a rival is deciding; the lease says until when it may take."""

    admission_id: str
    lease_until: int


class Again(msgspec.Struct, frozen=True):
    """A rival settled between two statements: enter once more."""


Entered = Login | Barred | CredentialGone | Opened | Awaited | Again


def enter(tx: Transaction, entries: list[Entry]) -> list[Entered]:
    """Spends the credentials of `entries` and says for each how it goes on. List form."""
    spent = _spend(tx, entries)
    known = users.by_user_id(tx, [person_of(each) for each in entries])
    residents = [
        (place, known[person_of(entry)])
        for place, entry in enumerate(entries)
        if spent[place] and person_of(entry) in known
    ]
    strangers = [
        place for place, entry in enumerate(entries) if spent[place] and person_of(entry) not in known
    ]
    results: list[Entered] = [CredentialGone()] * len(entries)
    for place, result in _log_in(tx, entries, residents):
        results[place] = result
    for place, result in _open_or_join(tx, entries, strangers):
        results[place] = result
    return results


def give_back(tx: Transaction, app_id: str, opened: Opened) -> None:
    """Ends our lease without a verdict, so that the next attempt may decide at once."""
    tx.execute(GIVE_BACK, {"app": app_id, "admission": opened.admission_id, "seen_fence": opened.fence})
    tx.signal("admission", opened.admission_id)


def release_all(tx: Transaction) -> None:
    """Ends every lease. Only for a process that is alone on its database and has just started."""
    tx.execute(RELEASE_ALL)


def person_of(entry: Entry) -> Key:
    """Whom `entry` is about: (app_id, userId)."""
    return entry.app.app_id, entry.proof.user_id


def open_sessions(
    tx: Transaction, logins: Sequence[tuple[Entry, User]], *, newcomers: bool
) -> list[OpenedSession | NoSession | None]:
    """Opens or renews the session of each login, and completes the code that led to one.

    None for a login that brought no key to refresh with: it has no session. The caller records what was
    opened.
    """
    asked = {
        place: _session_for(entry, user, entry.proof.public_key, newcomer=newcomers)
        for place, (entry, user) in enumerate(logins)
        if entry.proof.public_key is not None
    }
    opened = (
        dict(zip(asked, session_opening.open_or_renew(tx, list(asked.values())), strict=True))
        if asked
        else {}
    )
    codes = [
        spend
        for place, (entry, _) in enumerate(logins)
        if isinstance(opened.get(place), OpenedSession) and (spend := _credential(entry))
    ]
    if codes:
        one_time_codes.complete(tx, codes)
    return [opened.get(place) for place in range(len(logins))]


def _session_for(entry: Entry, user: User, key: PublicKey, *, newcomer: bool) -> OpenSession:
    return OpenSession(
        user=user,
        newcomer=newcomer,
        settings=entry.app.settings,
        sent=entry.proof.device,
        public_key=key,
        client_id=entry.proof.client_id,
        scopes=entry.proof.scopes,
        refresh_until=entry.refresh_until,
        now=entry.now,
    )


def _credential(entry: Entry) -> Spend | None:
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


def _spend(tx: Transaction, entries: Sequence[Entry]) -> list[bool]:
    """Whether each entry's credential still lets it in; those that have none to spend pass."""
    spends = {place: spend for place, entry in enumerate(entries) if (spend := _credential(entry))}
    done = dict(zip(spends, one_time_codes.spend(tx, list(spends.values())), strict=True)) if spends else {}
    return [done.get(place, True) for place in range(len(entries))]


def _log_in(
    tx: Transaction, entries: Sequence[Entry], residents: Sequence[tuple[int, User]]
) -> list[tuple[int, Entered]]:
    """Opens or renews the sessions of people who live here."""
    results: list[tuple[int, Entered]] = []
    active: list[tuple[int, User]] = []
    for place, user in residents:
        if (barred := barred_of(user)) is not None:
            results.append((place, barred))
        else:
            active.append((place, user))
    opened = open_sessions(tx, [(entries[place], user) for place, user in active], newcomers=False)
    for (place, _), session in zip(active, opened, strict=True):
        sign_in, now = entries[place].proof.sign_in, entries[place].now
        if isinstance(session, OpenedSession):
            facts.record_start(tx, session, sign_in, now)
        elif session is not None:
            facts.record_refusal(tx, session, sign_in, now)
    return results + [
        (place, _logged_in(user, session)) for (place, user), session in zip(active, opened, strict=True)
    ]


def _logged_in(user: User, opened: OpenedSession | NoSession | None) -> Entered:
    if opened is None:
        return Login(user=user, session=None)
    if isinstance(opened, OpenedSession):
        return Login(user=opened.user, session=opened.session)
    return Again() if opened.reason == "deleted" else Barred(opened.reason)


def _open_or_join(
    tx: Transaction, entries: Sequence[Entry], strangers: Sequence[int]
) -> list[tuple[int, Entered]]:
    """Opens an admission for each stranger who has none, and joins the others to theirs.

    The person is looked up once more behind the insert: a rival may have settled between two statements,
    and then the admission that we opened is one too many.
    """
    if not strangers:
        return []
    tx.write(OPEN, [_row_of(entries[place]) for place in strangers])
    people = {person_of(entries[place]) for place in strangers}
    found = {(row.app_id, row.user_id): row for row in OPEN_FOR.rows(tx, people)}
    return [
        (place, _standing(tx, entries[place], found.get(person_of(entries[place])))) for place in strangers
    ]


def _standing(tx: Transaction, entry: Entry, row: Any) -> Entered:
    if row is None:
        return Again()
    ours = row.admission_id == entry.admission_id
    if row.uid is not None:
        if ours:
            tx.execute(WITHDRAW, {"app": row.app_id, "admission": row.admission_id})
        return Again()
    if ours:
        return Opened(row.admission_id, row.fence)
    if not _is_held(row.lease_until, entry) and _take_over(tx, entry, row):
        return Opened(row.admission_id, row.fence + 1)
    return Awaited(row.admission_id, max(row.lease_until, entry.now))


def _is_held(lease_until: int, entry: Entry) -> bool:
    """Whether somebody may be deciding. A lease that ends beyond every budget was given by a clock that has
    been set back since."""
    return entry.now < lease_until <= entry.lease_until + CLOCK_LEAP_MS


def _take_over(tx: Transaction, entry: Entry, row: Any) -> bool:
    """Whether we are the first to continue an admission whose lease has ended."""
    taken = tx.execute(
        TAKE_OVER,
        {
            "app": row.app_id,
            "admission": row.admission_id,
            "seen_fence": row.fence,
            "until": entry.lease_until,
            "its_method": entry.proof.method,
            "its_policy": entry.app.policy.kind,
            "its_policy_version": entry.app.policy_version,
            "its_input_digest": entry.input_digest,
        },
    )
    return taken.rowcount == 1


def _row_of(entry: Entry) -> tuple[object, ...]:
    """The row of an open admission, in the order of the table's columns."""
    still_to_come: tuple[object, ...] = (None, "", "", "", "", "", 0, 0, None)
    return (
        entry.app.app_id,
        entry.admission_id,
        entry.proof.user_id,
        entry.proof.method,
        entry.app.policy.kind,
        entry.app.policy_version,
        entry.input_digest,
        1,
        entry.lease_until,
        entry.now,
        *still_to_come,
    )
