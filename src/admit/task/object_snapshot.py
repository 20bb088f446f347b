"""The objects of the app's tables as a run sees them: as they were first read, its own changes over them.

Each change carries the version that the run has seen first, so that the server can tell whether it still
stands. Of objects that a walk passes only that version is kept: there may be more of them than memory.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from admit.task.pending import Pending
from admit.task.stage import Stage
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

Place = tuple[str, str, str]
"""A table, a realm as it is kept, and a key."""


class ObjectSnapshot:
    """The objects as one run sees them."""

    __slots__ = ("_asked", "_pending", "_rows", "_stage", "_versions")

    def __init__(self, stage: Stage, pending: Pending) -> None:
        self._stage = stage
        self._pending = pending
        self._asked: dict[Place, Place | None] = {}
        self._rows: dict[Place, ObjectRow] = {}
        self._versions: dict[Place, str] = {}

    def find(self, table: str, realm_id: str, key: str) -> ObjectRow | None:
        """The object as the task has left it. `realm_id` "": the only one with this key."""
        asked = table, realm_id, key
        if asked not in self._asked:
            question = FindObject(table, realm_id, key)
            found = msgspec.convert(self._stage.ask(question), ObjectRow | None)
            self._asked[asked] = None if found is None else self._keep(found)
        place = self._asked[asked]
        row = None if place is None else self._overlaid(self._rows[place])
        if row is not None and row.value is not None:
            return row
        return None if realm_id else self._made(table, key)

    def walk(self, table: str, realm_id: str, after: str, page: int) -> Iterator[ObjectRow]:
        """The objects as the task has left them, read `page` at a time; those that it has made come last."""
        told: set[Place] = set()
        place = ("", after) if after else None
        while True:
            question = PageOfObjects(table=table, realm_id=realm_id, after=place, limit=page)
            found = msgspec.convert(self._stage.ask(question), ObjectsFound)
            for read in found.objects:
                seen = self._passed(read)
                told.add(_place(seen))
                if seen.value is not None:
                    yield seen
            if (place := found.after) is None:
                break
        for row in self._puts(table):
            in_it = not realm_id or row.realm_id == found.realm_id
            if in_it and row.key > after and _place(row) not in told:
                yield row

    def put(self, table: str, realm_id: str, key: str, value: dict[str, Any]) -> ObjectRow:
        """Makes the object, or takes the place of the one that is there."""
        self._pending.check()
        question = PlaceObject(table, realm_id, key, _encoded(value))
        placed = msgspec.convert(self._stage.ask(question), Placed)
        return self._put(self._rows[self._keep(placed.before)], placed.value)

    def change(self, row: ObjectRow, value: dict[str, Any]) -> ObjectRow:
        """Puts `value` in place of an object that was read."""
        return self.put(row.table, row.realm_id, row.key, value)

    def delete(self, row: ObjectRow) -> None:
        """Takes away an object that was read, or made."""
        self._pending.check()
        place = _place(row)
        version = self._versions.get(place, row.version)
        if not version:
            self._pending.drop(("object", *place))
            return
        change = DeleteObject(
            table=row.table, realm=row.realm, realm_id=row.realm_id, key=row.key, version=version
        )
        self._pending.add(("object", *place), change)

    def _put(self, row: ObjectRow, value: bytes) -> ObjectRow:
        place = _place(row)
        change = PutObject(
            table=row.table,
            realm=row.realm,
            realm_id=row.realm_id,
            key=row.key,
            version=self._versions[place],
            value=value,
        )
        self._pending.add(("object", *place), change)
        return self._overlaid(row)

    def _keep(self, row: ObjectRow) -> Place:
        """Keeps what was read, unless it was before."""
        place = _place(row)
        self._versions.setdefault(place, row.version)
        self._rows.setdefault(place, row)
        return place

    def _passed(self, row: ObjectRow) -> ObjectRow:
        place = _place(row)
        self._versions.setdefault(place, row.version)
        return self._overlaid(self._rows.get(place, row))

    def _overlaid(self, row: ObjectRow) -> ObjectRow:
        match self._pending.get(("object", *_place(row))):
            case PutObject(value=value):
                return replace(row, value=value)
            case DeleteObject():
                return replace(row, value=None)
            case _:
                return row

    def _made(self, table: str, key: str) -> ObjectRow | None:
        """What the task has put under `key`, in whatever realm."""
        found = [row for row in self._puts(table) if row.key == key]
        return found[0] if found else None

    def _puts(self, table: str) -> list[ObjectRow]:
        puts = [each for each in self._pending if isinstance(each, PutObject) and each.table == table]
        return [
            ObjectRow(
                table=each.table,
                realm=each.realm,
                realm_id=each.realm_id,
                key=each.key,
                version=each.version,
                value=each.value,
            )
            for each in puts
        ]


def _place(row: ObjectRow) -> Place:
    return row.table, row.realm, row.key


def _encoded(value: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise ValueError(f"The object cannot be written as JSON: {error}") from None
