"""The tables that clients sync, for tasks: their objects, read and written as the rest of the app is."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from admit.task.object_snapshot import ObjectSnapshot
from admit.task.wire import ObjectRow

PAGE_OBJECTS = 200


class TableObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object of a table. `realm`: the userId of whose it is, or rlm-public. `value` is a copy, with key,
    `realmId` and `owner`; types that JSON has not stand in it as clients send them.
    """

    table: str
    realm: str
    key: str
    value: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.value[name]


class Table:
    """A table of the app. A realm is a userId, or "rlm-public". A loop over the table passes all realms.

    What was read by its key stays as it was for the run. Reading and writing raise NotAnswered for what no
    table, key or object can be, and where there is no such person; writing also ValueError, and
    PermissionError in a decision. Somebody whom the run creates has no objects until it has ended.
    """

    __slots__ = ("_name", "_objects")

    def __init__(self, objects: ObjectSnapshot, name: str) -> None:
        self._objects = objects
        self._name = name

    def get(self, key: str, *, realm: str = "") -> TableObject | None:
        """The object with this key, or None. Without `realm` the only one with it, whosever it is."""
        row = self._objects.find(self._name, realm, key)
        return None if row is None else _object_of(row)

    def find(self, *, realm: str = "", after: str = "", limit: int | None = None) -> Iterator[TableObject]:
        """The objects of a realm, or of all, in the order of their keys; what the run has made comes last.

        Read by the page while they are walked through. `after`: behind this key, of a realm. `limit`: so many
        at most. Raises ValueError.
        """
        if after and not realm:
            raise ValueError("Keys are in order within a realm: say which.")
        if limit is not None and limit < 0:
            raise ValueError("limit is not below 0.")
        page = PAGE_OBJECTS if limit is None else max(1, min(limit, PAGE_OBJECTS))
        return islice(map(_object_of, self._objects.walk(self._name, realm, after, page)), limit)

    def __iter__(self) -> Iterator[TableObject]:
        return self.find()

    def put(self, value: Mapping[str, Any], *, realm: str = "", key: str = "") -> TableObject:
        """Makes the object, or takes the place of the one with its key.

        Its realm is `realm`, or its `realmId`; its key is `key`, or the one that it carries, or, where the
        table makes keys, a new one. Raises ValueError.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"An object is a mapping, not {type(value).__name__}.")
        realm = realm or str(value.get("realmId") or "")
        if not realm:
            raise ValueError('An object needs a realm: a userId, or "rlm-public".')
        return _object_of(self._objects.put(self._name, realm, key, dict(value)))

    def update(self, which: TableObject | str, changes: Mapping[str, Any], *, realm: str = "") -> TableObject:
        """Sets properties, by dotted paths such as "address.city". Raises LookupError where there is none."""
        row = self._row(which, realm)
        if row is None:
            raise LookupError(f"There is no such object in {self._name}.")
        value = _value_of(row)
        for path, each in changes.items():
            if path in ("realmId", "owner"):
                raise ValueError(f"{path} cannot be changed: put the object anew, and delete this one.")
            _set(value, path, each)
        return _object_of(self._objects.change(row, value))

    def delete(self, which: TableObject | str, *, realm: str = "") -> bool:
        """Deletes the object; False where there is none."""
        row = self._row(which, realm)
        if row is not None:
            self._objects.delete(row)
        return row is not None

    def _row(self, which: TableObject | str, realm: str) -> ObjectRow | None:
        if isinstance(which, TableObject):
            return self._objects.find(which.table, which.realm, which.key)
        return self._objects.find(self._name, realm, which)


def _object_of(row: ObjectRow) -> TableObject:
    return TableObject(table=row.table, realm=row.realm_id, key=row.key, value=_value_of(row))


def _value_of(row: ObjectRow) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.json.decode(row.value or b"{}")
    return value


def _set(value: dict[str, Any], path: str, what: Any) -> None:
    *inner, last = path.split(".")
    for name in inner:
        within = value.setdefault(name, {})
        if not isinstance(within, dict) or "$t" in within:
            raise ValueError(f"There is nothing inside {name!r} that {path!r} could change.")
        value = within
    value[last] = what
