"""Users: what is known of a person in one app, written first at enrollment and looked up ever after."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.accounts import seats
from admit.accounts.tables import identities, user_words, users
from admit.accounts.user_search import words_of
from admit.storage.lookups import Lookup
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

NEVER = 2**53 - 1
"""`valid_until` of a user without an end. The largest integer that JavaScript keeps exact."""

NEVER_ACTIVE = 0
"""`active_day` of a user who has not been here yet."""

USER_ID_CHARACTERS_MAX = 255
NAME_CHARACTERS_MAX = 200

UserType = Literal["eval", "prod", "demo"]
Key = tuple[str, str]
"""An app_id, and an id inside that app."""


class User(msgspec.Struct, frozen=True):
    """A person of one app at one moment; the fields are the columns of the table.

    `email` and `name` are "" while unknown. `data` is the stored text of a JSON object, never interpreted.
    `last_login_at` is 0 for someone who has never signed in. `way_in`: by which they first came: a sign-in
    method, the name of a provider, `api` or `import`.
    """

    app_id: str
    uid: str
    user_id: str
    email: str
    email_verified: bool
    name: str
    type: UserType
    data: msgspec.Raw | None
    created_at: int
    updated_at: int
    last_login_at: int
    valid_until: int
    eval_days_left: int
    eval_days_max: int
    active_day: int
    deactivated_at: int | None
    expired_at: int | None
    locked_at: int | None
    devices_max: int | None
    way_in: str

    @property
    def key(self) -> str:
        """The key of the signal "user": everyone who shows this user looks again."""
        return f"{self.app_id}/{self.user_id}"

    @property
    def holds_seat(self) -> bool:
        """Whether this user takes one of the app's seats, see `accounts.seats`."""
        return self.type == "prod" and self.deactivated_at is None


class NewUser(msgspec.Struct, frozen=True):
    """A user about to be written, with the identity that brought them: none where `issuer` is ""."""

    user: User
    issuer: str = ""
    subject: str = ""


USER_COLUMNS = tuple(users.c[name] for name in User.__struct_fields__)

BY_USER_ID = Lookup(select(*USER_COLUMNS), (users.c.app_id, users.c.user_id))
BY_UID = Lookup(select(*USER_COLUMNS), (users.c.app_id, users.c.uid))
LOCK_BY_UID = Lookup(select(*USER_COLUMNS), (users.c.app_id, users.c.uid), lock=True)
ADD_USERS = Insertion(insert(users).on_conflict_do_nothing())
ADD_IDENTITIES = Insertion(insert(identities).on_conflict_do_nothing())
ADD_WORDS = Insertion(insert(user_words))

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def new_user(
    *,
    app_id: str,
    user_id: str,
    email: str,
    email_verified: bool,
    name: str,
    type: UserType,
    data: str | None,
    eval_days: int,
    way_in: str,
    now: int,
) -> User:
    """A person who comes in at `now`. The day counts as the first of their `eval_days`."""
    return User(
        app_id=app_id,
        uid=clock.new_id("usr"),
        user_id=user_id,
        email=email,
        email_verified=email_verified,
        name=name_for_display(name),
        type=type,
        data=None if data is None else msgspec.Raw(data),
        created_at=now,
        updated_at=now,
        last_login_at=now,
        valid_until=NEVER,
        eval_days_left=eval_days,
        eval_days_max=eval_days,
        active_day=clock.utc_day(now),
        deactivated_at=None,
        expired_at=None,
        locked_at=None,
        devices_max=None,
        way_in=way_in,
    )


def create(tx: Transaction, rows: Sequence[NewUser]) -> dict[Key, User]:
    """Writes `rows`: users, identities and the words they are found by.

    Returns those who were there before, by (app_id, user_id): of them nothing was written. As a rule there
    are none, for the caller has looked; but another process may have been faster. The caller has also asked
    whether there are seats for those who need one.
    """
    ordered = sorted(rows, key=lambda row: (row.user.app_id, row.user.user_id))
    added = tx.count_written(ADD_USERS, [row_of(row.user) for row in ordered])
    earlier: dict[Key, User] = {}
    if added < len(ordered):
        mine = {row.user.uid for row in ordered}
        found = by_user_id(tx, [(row.user.app_id, row.user.user_id) for row in ordered])
        earlier = {key: user for key, user in found.items() if user.uid not in mine}
        ordered = [row for row in ordered if (row.user.app_id, row.user.user_id) not in earlier]
    tx.write(ADD_IDENTITIES, [_identity_of(row) for row in ordered if row.issuer])
    add_words(tx, [row.user for row in ordered])
    for row in ordered:
        seats.move(tx, row.user.app_id, row.user.way_in, int(row.user.holds_seat))
    return earlier


def add_words(tx: Transaction, people: Sequence[User]) -> None:
    """Writes the words by which `people` are found."""
    rows = [
        (user.app_id, word, user.uid)
        for user in people
        for word in words_of(user.user_id, user.email, user.name)
    ]
    tx.write(ADD_WORDS, rows)


def by_user_id(tx: Transaction, keys: Iterable[Key], *, lock: bool = False) -> dict[Key, User]:
    """The users with these (app_id, user_id); who is unknown is absent. `lock`: as for `by_uid`."""
    found = [user_of(row) for row in BY_USER_ID.rows(tx, keys)]
    if lock:
        found = list(by_uid(tx, [(user.app_id, user.uid) for user in found], lock=True).values())
    return {(user.app_id, user.user_id): user for user in found}


def find_each(tx: Transaction, keys: list[Key]) -> list[User | None]:
    """The users with these (app_id, user_id); None for who is unknown. List form."""
    found = by_user_id(tx, keys)
    return [found.get(key) for key in keys]


def by_uid(tx: Transaction, keys: Iterable[Key], *, lock: bool = False) -> dict[Key, User]:
    """The users with these (app_id, uid); who is unknown, or was deleted, is absent.

    Locked, they stay as they are until the transaction ends. Everybody locks users in the order of their
    uids, and before anything else of theirs, so that two processes never wait for each other.
    """
    found = map(user_of, (LOCK_BY_UID if lock else BY_UID).rows(tx, keys))
    return {(user.app_id, user.uid): user for user in found}


def user_of(row: Sequence[Any]) -> User:
    """The user in a row that begins with USER_COLUMNS."""
    app_id, uid, user_id, email, verified, name, type_, data, *rest = row[: len(USER_COLUMNS)]
    raw = None if data is None else msgspec.Raw(data)
    return User(app_id, uid, user_id, email, verified == "yes", name, type_, raw, *rest)


def row_of(user: User) -> tuple[Any, ...]:
    """The row that holds `user`: USER_COLUMNS."""
    app_id, uid, user_id, email, verified, name, type_, raw, *rest = msgspec.structs.astuple(user)
    data = None if raw is None else bytes(raw).decode()
    return app_id, uid, user_id, email, "yes" if verified else "no", name, type_, data, *rest


def name_for_display(name: str) -> str:
    """`name` in one line of visible characters, at most NAME_CHARACTERS_MAX of them."""
    return " ".join(_UNSEEN.sub(" ", name).split())[:NAME_CHARACTERS_MAX].rstrip()


def fault_of_user_id(user_id: str) -> str | None:
    """What is wrong with `user_id` as a userId, in a sentence; None where nothing is."""
    if not user_id or user_id != user_id.strip():
        return "A userId is not empty and neither begins nor ends with a space."
    if len(user_id) > USER_ID_CHARACTERS_MAX:
        return f"A userId has at most {USER_ID_CHARACTERS_MAX} characters."
    if _UNSEEN.search(user_id):
        return "A userId has no control characters."
    return None


def _identity_of(row: NewUser) -> tuple[object, ...]:
    return row.user.app_id, row.issuer, row.subject, row.user.uid, row.user.created_at
