"""Changes that the operator's programs make to users: an array of them, all or none, as POST /users has it.

The rules are in `user_edits`; here they are read, written and told.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from sqlalchemy import bindparam, delete, update

from admit import clock
from admit.accounts import expiry, facts, seats, users
from admit.accounts.tables import user_words
from admit.accounts.tables import users as users_table
from admit.accounts.user_edits import Fault, UserChange, changed_properties, edit
from admit.accounts.user_search import words_of
from admit.accounts.users import USER_COLUMNS, NewUser, User, row_of
from admit.errors import NO_SEATS_AVAILABLE, Conflict
from admit.events.catalog import (
    UserDeactivated,
    UserEnrolled,
    UserReactivated,
    UserUpdated,
    UserUpgraded,
    Verdict,
)
from admit.storage.transaction import Transaction

CHANGES_MAX = 1_000
UNITS_MAX = 3  # a full array of new users with long names writes some 11,000 rows

Source = Literal["api", "import", "task"]
"""Which way the operator's changes come. It is told of the users whom they create."""

CHANGE_USERS = (
    update(users_table)
    .where(users_table.c.app_id == bindparam("new_app_id"), users_table.c.uid == bindparam("new_uid"))
    .values(
        {
            column: bindparam(f"new_{column}")
            for column in (
                "email",
                "name",
                "type",
                "data",
                "updated_at",
                "valid_until",
                "eval_days_left",
                "eval_days_max",
                "deactivated_at",
                "expired_at",
            )
        }
    )
)
FORGET_WORDS = delete(user_words).where(
    user_words.c.app_id == bindparam("of_app"), user_words.c.uid == bindparam("of_uid")
)


class Created(msgspec.Struct, frozen=True):
    """A user whom the API has created, and the id under which the ledger is to remember it."""

    user: User
    admission_id: str


class Written(msgspec.Struct, frozen=True):
    """All changes are made. `changed` are the users who are different now; the rest were so already."""

    created: list[Created]
    changed: list[User]


class Rejected(msgspec.Struct, frozen=True):
    """Why the entry at `index` is not made; None: because of the array as a whole."""

    index: int | None
    code: str
    sentence: str


class Plan(msgspec.Struct, frozen=True):
    """What an array of changes means: users by userId before and after, and the entries that cannot be."""

    before: dict[str, User]
    after: dict[str, User]
    rejected: list[Rejected]

    @property
    def newcomers(self) -> list[User]:
        """Whom the array creates."""
        return [user for user_id, user in self.after.items() if user_id not in self.before]

    @property
    def changed(self) -> list[User]:
        """Who was there, and becomes different."""
        return [self.after[user_id] for user_id, user in self.before.items() if self.after[user_id] != user]


def write_many(
    tx: Transaction,
    app_id: str,
    changes: Sequence[UserChange],
    *,
    eval_days: int,
    now: int,
    source: Source = "api",
) -> Written | Rejected:
    """Makes `changes`, one after the other, with their events; or none of them.

    `eval_days` is what the app grants a new user. The caller writes a ledger row for each user created.
    Raises Conflict when another process has created one of the same users at this moment.
    """
    if len(changes) > CHANGES_MAX:
        return Rejected(None, "too_large", f"At most {CHANGES_MAX} users can be changed at once.")
    planned = plan(tx, app_id, changes, eval_days=eval_days, now=now, source=source, lock=True)
    return planned.rejected[0] if planned.rejected else carry_out(tx, planned, now, source)


def plan(
    tx: Transaction,
    app_id: str,
    changes: Sequence[UserChange],
    *,
    eval_days: int,
    now: int,
    source: Source,
    lock: bool = False,
) -> Plan:
    """What each of `changes`, CHANGES_MAX at most, would do behind those before it. Writes nothing.

    `lock`: the users stay as they are until `carry_out`.
    """
    asked = [(app_id, change.user_id) for change in changes if users.fault_of_user_id(change.user_id) is None]
    before = {user.user_id: user for user in users.by_user_id(tx, asked, lock=lock).values()}
    after, rejected = dict(before), []
    left = seats.left_for(tx, {(app_id, way_in) for way_in in _ways_in(before.values(), source)})
    for index, change in enumerate(changes):
        old = after.get(change.user_id)
        new = edit(old, change, app_id=app_id, eval_days=eval_days, way_in=source, now=now)
        if isinstance(new, Fault):
            rejected.append(Rejected(index, "invalid_request", new.sentence))
            continue
        more = _more_seats(old, new)
        full = [each for each in left.of(app_id, new.way_in) if not each.have_room_for(more)]
        if full:
            rejected.append(Rejected(index, NO_SEATS_AVAILABLE, full[0].all_taken))
            continue
        left.take(app_id, new.way_in, more)
        after[change.user_id] = new
    return Plan(before, after, rejected)


def carry_out(tx: Transaction, planned: Plan, now: int, source: Source) -> Written:
    """Makes what was planned under a lock in this unit, with its events. Raises as `write_many` does."""
    tx.begin_unit(UNITS_MAX)
    newcomers, changed = planned.newcomers, planned.changed
    _create(tx, newcomers)
    _change(tx, planned.before, changed)
    created = [Created(user, clock.new_id("adm")) for user in newcomers]
    for newcomer in created:
        _tell_creation(tx, newcomer, source, now)
    for user in changed:
        _tell_changes(tx, planned.before[user.user_id], user, now)
    return Written(created, changed)


def _ways_in(known: Iterable[User], source: Source) -> set[str]:
    """By which the people of an array have come, or come now."""
    return {source, *(user.way_in for user in known)}


def _more_seats(old: User | None, new: User) -> int:
    return int(new.holds_seat) - int(old is not None and old.holds_seat)


def _create(tx: Transaction, newcomers: Sequence[User]) -> None:
    if newcomers and users.create(tx, [NewUser(user) for user in newcomers]):
        # Some of them are written by now: only an exception takes all of it back.
        raise Conflict("Somebody else has created one of these users at this moment. Send the request again.")


def _change(tx: Transaction, before: Mapping[str, User], changed: Sequence[User]) -> None:
    if not changed:
        return
    in_order = sorted(changed, key=lambda user: user.uid)
    names = [f"new_{column.name}" for column in USER_COLUMNS]
    tx.execute(CHANGE_USERS, [dict(zip(names, row_of(user), strict=True)) for user in in_order])
    for user in in_order:
        seats.move(tx, user.app_id, user.way_in, _more_seats(before[user.user_id], user))
    renamed = [user for user in in_order if _words(user) != _words(before[user.user_id])]
    if renamed:
        tx.execute(FORGET_WORDS, [{"of_app": user.app_id, "of_uid": user.uid} for user in renamed])
        users.add_words(tx, renamed)


def _words(user: User) -> set[str]:
    return words_of(user.user_id, user.email, user.name)


def _tell_creation(tx: Transaction, created: Created, source: Source, now: int) -> None:
    user = created.user
    verdict = Verdict(type=user.type, source=source, admission_id=created.admission_id)
    facts.record(tx, user, UserEnrolled(user=facts.person_of(user), verdict=verdict), now)
    if user.deactivated_at is not None:
        facts.record(tx, user, UserDeactivated(user=facts.person_of(user)), now)
    if user.expired_at is not None:
        expiry.record(tx, user, now)
    expiry.watch(tx, user, now)
    tx.signal("user", user.key)


def _tell_changes(tx: Transaction, old: User, new: User, now: int) -> None:
    person = facts.person_of(new)
    if changed := changed_properties(old, new):
        facts.record(tx, new, UserUpdated(user=person, changed=changed), now)
    if (old.type, new.type) == ("eval", "prod"):
        facts.record(tx, new, UserUpgraded(user=person), now)
    if old.deactivated_at is None and new.deactivated_at is not None:
        facts.record(tx, new, UserDeactivated(user=person), now)
    if old.deactivated_at is not None and new.deactivated_at is None:
        facts.record(tx, new, UserReactivated(user=person), now)
    if new.expired_at is not None and old.expired_at is None:
        expiry.record(tx, new, now)
    if new.valid_until != old.valid_until:
        expiry.watch(tx, new, now)
    tx.signal("user", new.key)
