"""The tables of an app in memory, for tests. Keys are at `id`, and are made where an object has none."""

from collections.abc import Mapping
from typing import Any

import msgspec

from admit.task.synced import TableObject
from admit.task.wire import (
    DeleteObject,
    FindObject,
    ObjectRow,
    ObjectsFound,
    PageOfObjects,
    Placed,
    PlaceObject,
    PutObject,
)

KEY = "id"

Place = tuple[str, str, str]
"""A table, a realm and a key."""


class Synced:
    """Objects by table and key, as `App` is given them."""

    def __init__(self, tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        self._rows: dict[Place, ObjectRow] = {}
        for table, objects in tables.items():
            for key, value in objects.items():
                if not value.get("realmId"):
                    raise ValueError(f'The object {key!r} of {table} needs a realm: "realmId".')
                self._put((table, value["realmId"], key), dict(value), "1")

    def of(self, table: str) -> list[TableObject]:
        """The objects of a table, in the order of realm and key."""
        rows = [row for place, row in sorted(self._rows.items()) if place[0] == table]
        return [
            TableObject(table=table, realm=each.realm_id, key=each.key, value=_read(each)) for each in rows
        ]

    def find(self, asked: FindObject) -> ObjectRow | None:
        """As the server answers."""
        if asked.realm_id:
            return self._at((asked.table, asked.realm_id, asked.key))
        found = [
            row for (table, _, key), row in self._rows.items() if (table, key) == (asked.table, asked.key)
        ]
        assert len(found) < 2, f"Several realms have an object {asked.key!r}: the server would ask for one."
        return found[0] if found else None

    def place(self, asked: PlaceObject) -> Placed:
        """As the server answers."""
        value = msgspec.json.decode(asked.value)
        carried = value.get(KEY)
        key = asked.key or carried or f"{asked.table}-{len(self._rows) + 1}"
        assert carried in (None, key), "The object carries another key than it is put under."
        place = asked.table, asked.realm_id, key
        return Placed(self._at(place), msgspec.json.encode(_whole(place, value)))

    def page(self, asked: PageOfObjects) -> ObjectsFound:
        """As the server answers."""
        after = None if asked.after is None else (asked.after[0] or asked.realm_id, asked.after[1])
        rows = [
            row
            for (table, realm, key), row in sorted(self._rows.items())
            if table == asked.table
            and asked.realm_id in ("", realm)
            and (after is None or (realm, key) > after)
        ]
        some = tuple(rows[: asked.limit])
        last = (some[-1].realm, some[-1].key) if len(some) < len(rows) else None
        return ObjectsFound(some, last, asked.realm_id)

    def check(self, change: PutObject | DeleteObject) -> bool:
        """Whether what was read still stands."""
        return self._at((change.table, change.realm, change.key)).version == change.version

    def apply(self, change: PutObject | DeleteObject, version: str) -> None:
        """Makes the change."""
        place = change.table, change.realm, change.key
        if isinstance(change, PutObject):
            self._put(place, msgspec.json.decode(change.value), version)
        else:
            del self._rows[place]

    def _at(self, place: Place) -> ObjectRow:
        return self._rows.get(place) or _row(place, "", None)

    def _put(self, place: Place, value: dict[str, Any], version: str) -> None:
        self._rows[place] = _row(place, version, msgspec.json.encode(_whole(place, value)))


def _row(place: Place, version: str, value: bytes | None) -> ObjectRow:
    table, realm, key = place
    return ObjectRow(table=table, realm=realm, realm_id=realm, key=key, version=version, value=value)


def _whole(place: Place, value: dict[str, Any]) -> dict[str, Any]:
    _, realm, key = place
    owner = {} if realm == "rlm-public" else {"owner": realm}
    return {KEY: key, **owner, **value, "realmId": realm}


def _read(row: ObjectRow) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.json.decode(row.value or b"{}")
    return value
