"""Objects from outside as they are stored: with their key, their realm and their owner in their places. Pure.

The addon sends every object with `realmId` and `owner`, and tells by `realmId` what goes when somebody signs
out. So what comes by another way is given them, too.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from admit.data import object_keys
from admit.data.generated_ids import new_key
from admit.data.realms import PUBLIC, Realm
from admit.data.table_settings import TableSetting


class NoKey(msgspec.Struct, frozen=True):
    """The object carries no key, and the table makes none."""


class OtherKey(msgspec.Struct, frozen=True):
    """The object carries another key than the one it is to be written under."""


class NewObject(msgspec.Struct, frozen=True):
    """An object, and the key that it is kept under."""

    key: str
    value: dict[str, Any]


def new_object(
    setting: TableSetting, realm: Realm, value: Mapping[str, Any], *, key: str | None, at_ms: int
) -> NewObject | NoKey | OtherKey:
    """The object to store for `value` in `realm`. `key`: the one it was sent for, if it was.

    `at_ms`: the time that a key which is made begins with, another for each of a request.
    """
    carried = object_keys.key_in(setting, value)
    chosen = carried if key is None else key
    if chosen is None:
        if not setting.generated:
            return NoKey()
        chosen = new_key(setting.id_prefix, realm.realm_id, at_ms)
    kept = kept_key(chosen, realm)
    if carried is not None and kept_key(carried, realm) != kept:
        return OtherKey()
    owned = {"owner": realm.realm_id} if realm.realm != PUBLIC else {}
    whole = {**owned, **value, "realmId": realm.realm_id}
    return NewObject(kept, object_keys.with_key(setting, whole, kept))


def kept_key(key: str, realm: Realm) -> str:
    """The key under which an object that is called `key` is kept in `realm`."""
    plain = object_keys.plain(key)
    return plain if realm.realm == PUBLIC else object_keys.private_key(plain, realm.realm_id)
