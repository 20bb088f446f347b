"""Admissions: one open for each unknown person of an app; settled, they stay as the ledger of decisions.

The two units of a first login, both in list form. `enter` spends the credential and finds out whether the
person is known, unknown and ours to decide, or being decided by a rival; `settle` (settlements.py) writes
everything that a verdict means.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import and_, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from admit.accounts import facts, session_opening, users
from admit.accounts.keys import PublicKey
from admit.accounts.session_opening import NoSession, OpenSession
from admit.accounts.session_opening import Opened as OpenedSession
from admit.accounts.sessions import Session
from admit.accounts.tables import users as users_table
from admit.accounts.users import Key, User
from admit.enrollment import credentials, residents
from admit.enrollment.barred import Barred, barred_of
from admit.enrollment.entries import Entry
from admit.enrollment.residents import Resident
from admit.enrollment.tables import admissions
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
        admissions.c.way_in,
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
        way_in=bindparam("its_way_in"),
        claims=bindparam("its_claims"),
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
    """Unknown, and a rival is deciding, by the policy of `way_in`; the lease says until when it may take."""

    admission_id: str
    lease_until: int
    way_in: str


class Again(msgspec.Struct, frozen=True):
    """A rival settled between two statements: enter once more."""


class Nowhere(msgspec.Struct, frozen=True):
    """Nobody is known by this identity, and its email leads to nobody."""


class Contested(msgspec.Struct, frozen=True):
    """Of who is at the door and `user`, only one has proven the email. See `residents.contested`."""

    user: User
    by: Literal["unproven", "unverified"]


Entered = Login | Barred | CredentialGone | Opened | Awaited | Again | Nowhere | Contested


def enter(tx: Transaction, entries: list[Entry]) -> list[Entered]:
    """Spends the credentials of `entries` and says for each how it goes on. List form."""
    spent = credentials.spend(tx, entries)
    found = residents.find(tx, [entry.caller for entry in entries])
    known: list[tuple[int, Resident]] = []
    strangers: list[int] = []
    results: list[Entered] = [CredentialGone()] * len(entries)
    for place, resident in enumerate(found):
        if not spent[place]:
            continue
        if resident is not None:
            known.append((place, resident))
        elif entries[place].proof.user_id:
            strangers.append(place)
        else:
            results[place] = Nowhere()
    for place, result in _log_in(tx, entries, known):
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
    credentials.complete(tx, [(entry, opened.get(place)) for place, (entry, _) in enumerate(logins)])
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


def _log_in(
    tx: Transaction, entries: Sequence[Entry], known: Sequence[tuple[int, Resident]]
) -> list[tuple[int, Entered]]:
    """Opens or renews the sessions of people who live here."""
    results: list[tuple[int, Entered]] = []
    welcome: list[tuple[int, Resident]] = []
    for place, resident in _held(tx, entries, known):
        if resident is None:
            results.append((place, Again()))
        elif (hindrance := _hindrance(entries[place], resident.user)) is not None:
            results.append((place, hindrance))
        else:
            welcome.append((place, resident))
    active, moved = _linked(tx, entries, welcome)
    opened = open_sessions(tx, [(entries[place], user) for place, user in active], newcomers=False)
    for (place, user), session in zip(active, opened, strict=True):
        sign_in, now = entries[place].proof.sign_in, entries[place].now
        if isinstance(session, OpenedSession):
            facts.record_start(tx, session, sign_in, now)
        elif session is not None:
            facts.record_refusal(tx, session, sign_in, now)
        results.append((place, _logged_in(user, session)))
    return results + [(place, Again()) for place in moved]


def _held(
    tx: Transaction, entries: Sequence[Entry], known: Sequence[tuple[int, Resident]]
) -> Sequence[tuple[int, Resident | None]]:
    """`known` as they are and stay until the transaction ends, all of them where that matters for one: users
    are locked in one order. None: somebody was deleted a moment ago."""
    if not any(residents.needs_hold(entries[place].proof, resident) for place, resident in known):
        return known
    held = users.by_uid(tx, {_key(resident) for _, resident in known}, lock=True)
    return [
        (place, Resident(user, resident.linked) if (user := held.get(_key(resident))) else None)
        for place, resident in known
    ]


def _key(resident: Resident) -> Key:
    return resident.user.app_id, resident.user.uid


def _hindrance(entry: Entry, user: User) -> Barred | Contested | None:
    if (barred := barred_of(user)) is not None:
        return barred
    by = residents.contested(entry.proof, user)
    return None if by is None else Contested(user, by)


def _linked(
    tx: Transaction, entries: Sequence[Entry], welcome: Sequence[tuple[int, Resident]]
) -> tuple[list[tuple[int, User]], list[int]]:
    """Who logs in, their identities leading to them from now on, and the places of those who must enter anew
    because theirs leads to somebody else since a moment ago. Who is to be linked is held."""
    new = [(place, each.user) for place, each in welcome if not each.linked]
    if not new:
        return [(place, each.user) for place, each in welcome], []
    done = residents.link(tx, [(entries[place].caller, user) for place, user in new], entries[new[0][0]].now)
    moved = [place for (place, _), is_theirs in zip(new, done, strict=True) if not is_theirs]
    return [(place, each.user) for place, each in welcome if place not in moved], moved


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
    return Awaited(row.admission_id, max(row.lease_until, entry.now), row.way_in)


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
            "its_way_in": entry.proof.way_in,
            "its_claims": _claims_of(entry.proof),
            "its_policy": entry.policy.kind,
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
        entry.proof.way_in,
        _claims_of(entry.proof),
        entry.policy.kind,
        entry.app.policy_version,
        entry.input_digest,
        1,
        entry.lease_until,
        entry.now,
        *still_to_come,
    )


def _claims_of(proof: Proof) -> str:
    return msgspec.json.encode(proof.claims).decode() if proof.provider else ""
