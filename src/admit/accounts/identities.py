"""Identities: who of a provider is who here. Issuer and subject are the key, never an email."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import and_, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from admit.accounts import facts
from admit.accounts.session_moves import hold_user
from admit.accounts.tables import identities
from admit.accounts.tables import users as users_table
from admit.accounts.users import USER_COLUMNS, User, user_of
from admit.errors import Conflict
from admit.events import catalog
from admit.events.catalog import SignIn, UserIdentityLinked, UserIdentityUnlinked
from admit.storage.lookups import Lookup
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

IdentityKey = tuple[str, str, str]
"""An app_id, an issuer, and a subject of that issuer."""

EMAIL_ISSUER = "email"
"""Issuer of identities whose subject is an email address that its owner has proven."""
CLIENT_ISSUER = "client"
"""Issuer of identities whose subject is a userId that an API client of the app has vouched for."""

OF_USER_MAX = 1_000

OWNERS = Lookup(
    select(*USER_COLUMNS, identities.c.issuer, identities.c.subject).select_from(
        identities.join(
            users_table,
            and_(users_table.c.app_id == identities.c.app_id, users_table.c.uid == identities.c.uid),
        )
    ),
    (identities.c.app_id, identities.c.issuer, identities.c.subject),
)
LINK = Insertion(insert(identities).on_conflict_do_nothing())
_OF_USER = (identities.c.app_id == bindparam("app")) & (identities.c.uid == bindparam("uid"))
OF_USER = (
    select(identities.c.issuer, identities.c.subject, identities.c.created_at)
    .where(_OF_USER)
    .order_by(identities.c.created_at, identities.c.issuer, identities.c.subject)
    .limit(OF_USER_MAX)
)
UNLINK = delete(identities).where(
    _OF_USER,
    identities.c.issuer == bindparam("its_issuer"),
    identities.c.subject == bindparam("its_subject"),
)


class Identity(msgspec.Struct, frozen=True):
    """What leads to a user, since `created_at`. Those of a provider can be unlinked."""

    issuer: str
    subject: str
    created_at: int

    @property
    def of_provider(self) -> bool:
        """False: it says nothing but the userId, by which its person is known in any case."""
        return self.issuer not in (EMAIL_ISSUER, CLIENT_ISSUER)


def owners(tx: Transaction, keys: Iterable[IdentityKey]) -> dict[IdentityKey, User]:
    """The users whom these identities lead to; those that were never seen are absent."""
    found = {}
    for row in OWNERS.rows(tx, keys):
        user, (issuer, subject) = user_of(row), row[len(USER_COLUMNS) :]
        found[user.app_id, issuer, subject] = user
    return found


def link(tx: Transaction, links: Sequence[tuple[IdentityKey, User, SignIn]], now: int) -> list[bool]:
    """Makes each identity lead to its user, who is held, with the event of each that is new.

    False: it leads to somebody else already. The sign-in is what has brought the identity.
    """
    keys = {key for key, _, _ in links}
    before = owners(tx, keys)
    new = {key: (user, sign_in) for key, user, sign_in in reversed(links) if key not in before}
    tx.write(LINK, [(*key, new[key][0].uid, now) for key in sorted(new)])
    after = before | owners(tx, new)
    for key, (user, sign_in) in new.items():
        if _leads_to(after, key, user):
            _, issuer, subject = key
            _record_linked(tx, user, issuer, subject, sign_in, now)
    return [_leads_to(after, key, user) for key, user, _ in links]


def of_user(tx: Transaction, app_id: str, uid: str) -> list[Identity]:
    """What leads to a user, in the order in which it came, OF_USER_MAX at most."""
    rows = tx.execute(OF_USER, {"app": app_id, "uid": uid})
    return [Identity(row.issuer, row.subject, row.created_at) for row in rows]


def unlink(tx: Transaction, app_id: str, uid: str, issuer: str, subject: str, now: int) -> bool:
    """Takes an identity of a provider from a user, with its event. False: it does not lead to them.

    Their sessions go on. Who signs in with it again is somebody unknown, whose email may lead here once more.
    Raises Conflict (identity_of_user_id).
    """
    if not Identity(issuer, subject, now).of_provider:
        raise Conflict(
            "This identity is no account at a provider: it says the userId once more, which leads to the "
            "person in any case. Deactivate or delete the person instead.",
            code="identity_of_user_id",
        )
    user = hold_user(tx, app_id, uid)
    its = {"app": app_id, "uid": uid, "its_issuer": issuer, "its_subject": subject}
    if user is None or not tx.execute(UNLINK, its).rowcount:
        return False
    identity = catalog.Identity(issuer=issuer, subject=subject)
    facts.record(tx, user, UserIdentityUnlinked(user=facts.person_of(user), identity=identity), now)
    return True


def _leads_to(found: dict[IdentityKey, User], key: IdentityKey, user: User) -> bool:
    return key in found and found[key].uid == user.uid


def _record_linked(tx: Transaction, user: User, issuer: str, subject: str, sign_in: SignIn, now: int) -> None:
    identity = catalog.Identity(issuer=issuer, subject=subject)
    data = UserIdentityLinked(user=facts.person_of(user), identity=identity, sign_in=sign_in)
    facts.record(tx, user, data, now)
