"""The realms that there are, by the names that clients have for them.

A person's private realm is called by the userId and kept under the uid, so that somebody who was deleted and
returns begins anew. Then there is the public realm, and no other.
"""

from collections.abc import Iterable

import msgspec

from admit.accounts import users
from admit.accounts.users import User
from admit.data.changed import PUBLIC as PUBLIC
from admit.storage.transaction import Transaction


class Realm(msgspec.Struct, frozen=True):
    """A realm as it is kept, and as clients call it."""

    realm: str
    realm_id: str


PUBLIC_REALM = Realm(PUBLIC, PUBLIC)


def of_user(user: User) -> Realm:
    """The private realm of `user`."""
    return Realm(user.uid, user.user_id)


def by_id(tx: Transaction, app_id: str, realm_ids: Iterable[str]) -> dict[str, Realm]:
    """The realms that clients call so; those that are not there are absent."""
    wanted = set(realm_ids)
    found = users.by_user_id(tx, [(app_id, each) for each in wanted - {PUBLIC}])
    named = {user.user_id: of_user(user) for user in found.values()}
    return named | ({PUBLIC: PUBLIC_REALM} if PUBLIC in wanted else {})


def named(tx: Transaction, app_id: str, realms: Iterable[str]) -> dict[str, Realm]:
    """The realms that are kept under these names; those of people who were deleted are absent."""
    wanted = set(realms)
    found = users.by_uid(tx, [(app_id, each) for each in wanted - {PUBLIC}])
    kept = {user.uid: of_user(user) for user in found.values()}
    return kept | ({PUBLIC: PUBLIC_REALM} if PUBLIC in wanted else {})
