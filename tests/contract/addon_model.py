"""A small model of a client's database: what `dexie-cloud-addon` keeps, asks and applies, and its weaknesses.

Mutations wait in a queue with their numbers; which revision of the server was known when one was made is told
by `base_revs`. What the server changes is applied minus what waits, as the addon subtracts it.
"""

import copy
import random
from dataclasses import dataclass, field
from typing import Any

from admit.data import specs
from admit.data.criteria import Criteria, matches
from admit.data.markers import Marker, sign_of
from admit.data.operations import UNKNOWN, Author, Batch, Operation

Value = dict[str, Any]
State = tuple[str, str, Value | None]
"""A table, a key as the server calls it, and the object; None: deleted."""


@dataclass
class Mutation:
    """What was done in one table at once."""

    rev: int | None
    table: str
    type: str
    keys: list[str]
    txid: str
    op_no: int
    ts: int
    values: list[Value] = field(default_factory=list)
    specs: list[Value] = field(default_factory=list)
    criteria: Criteria | None = None


@dataclass
class Request:
    """What was sent, and what will be forgotten when it is answered."""

    batch: Batch | None
    last: Marker | None
    latest: dict[str, int]
    uploads: bool


class AddonModel:
    """One local database of a user."""

    def __init__(
        self, uid: str, user_id: str, name: str, tables: tuple[str, ...], dice: random.Random
    ) -> None:
        self.uid = uid
        self.user_id = user_id
        self.identity = name
        self.tables: dict[str, dict[str, Value]] = {table: {} for table in tables}
        self.queue: list[Mutation] = []
        self.base_revs: dict[str, dict[int, Marker]] = {table: {} for table in tables}
        self.latest: dict[str, int] = dict.fromkeys(tables, 0)
        self.marker: Marker | None = None
        self.in_flight: Request | None = None
        self.clock = 1_000_000
        self._revs = dict.fromkeys(tables, 0)
        self._transactions = 0
        self._op_no = 0
        self._dice = dice
        self._syncified = False

    # What the app does

    def begin(self) -> str:
        """A transaction; the clock may have been set back meanwhile."""
        self._transactions += 1
        self._op_no = 0
        self.clock += self._dice.choice((1, 1, 1, 5, 100, -50))
        return f"{self.identity}-{self._transactions}"

    def add(self, txid: str, table: str, key: str, value: Value) -> None:
        """table.add(): nothing where the key is taken."""
        if key not in self.tables[table]:
            self._log(txid, table, "insert", [key], values=[self._owned(value)])

    def put(self, txid: str, table: str, key: str, value: Value) -> None:
        """table.put()."""
        self._log(txid, table, "upsert", [key], values=[self._owned(value)])

    def upsert(self, txid: str, table: str, key: str, spec: Value) -> None:
        """table.upsert(): an update where the object is there."""
        value = specs.apply(copy.deepcopy(spec), copy.deepcopy(self.tables[table].get(key, {}))).value
        there = key in self.tables[table]
        self._log(txid, table, "upsert", [key], values=[self._owned(value)], specs=[spec] if there else [])

    def update(self, txid: str, table: str, keys: list[str], spec: Value) -> None:
        """table.update(), or bulkUpdate() with the same for all. Private objects are put whole."""
        keys = [key for key in keys if key in self.tables[table]]
        for key in [key for key in keys if key.startswith("#")]:
            value = specs.apply(copy.deepcopy(spec), copy.deepcopy(self.tables[table][key])).value
            self.put(txid, table, key, value)
        keys = [key for key in keys if not key.startswith("#")]
        if keys:
            self._log(txid, table, "update", keys, specs=[spec for _ in keys])

    def modify(self, txid: str, table: str, criteria: Criteria, spec: Value) -> None:
        """table.where(…).modify({…})."""
        self._log(txid, table, "modify", self._matching(table, criteria), specs=[spec], criteria=criteria)

    def delete(self, txid: str, table: str, keys: list[str]) -> None:
        """table.bulkDelete()."""
        keys = [key for key in keys if key in self.tables[table]]
        if keys:
            self._log(txid, table, "delete", keys)

    def delete_where(self, txid: str, table: str, criteria: Criteria) -> None:
        """table.where(…).delete(), or clear()."""
        self._log(txid, table, "delete", self._matching(table, criteria), criteria=criteria)

    def _matching(self, table: str, criteria: Criteria) -> list[str]:
        rows = self.tables[table].items()
        return [
            key
            for key, value in rows
            if not key.startswith("#") and matches(criteria, key, value, self.user_id)
        ]

    def _owned(self, value: Value) -> Value:
        return {"realmId": self.user_id, "owner": self.user_id} | copy.deepcopy(value)

    def _log(self, txid: str, table: str, kind: str, keys: list[str], **more: Any) -> None:
        self._op_no += 1
        self._revs[table] += 1
        more = copy.deepcopy(more)
        mutation = Mutation(self._revs[table], table, kind, list(keys), txid, self._op_no, self.clock, **more)
        self.queue.append(mutation)
        rows = self.tables[table]
        for place, key in enumerate(mutation.keys):
            if kind in ("insert", "upsert"):
                rows[key] = copy.deepcopy(mutation.values[place])
            elif kind == "delete":
                del rows[key]
            else:
                spec = mutation.specs[0 if kind == "modify" else place]
                rows[key] = specs.apply(copy.deepcopy(spec), copy.deepcopy(rows[key])).value

    # What the addon sends

    def request(self) -> Request:
        """What _sync() sends: all that waits, in the order of the clock."""
        waiting = self._without_redundant()
        ordered = sorted(waiting, key=lambda each: (each.ts, each.txid, each.op_no))
        latest = dict(self.latest)
        for each in ordered:
            assert each.rev is not None
            latest[each.table] = each.rev
        operations = [self._operation(each, f"{each.txid}/{each.op_no}") for each in ordered]
        if not self._syncified:
            operations += self._uploads()
        batch = None
        if operations:
            batch = Batch(
                app_id="app",
                realm=self.uid,
                realm_id=self.user_id,
                client=self.identity,
                author=Author(uid=self.uid, user_id=self.user_id),
                operations=tuple(operations),
                epoch=None if self.marker is None else self.marker.epoch,
                known=UNKNOWN if self.marker is None else self.marker.private,
                now=1,
            )
        self.in_flight = Request(batch, self.marker, latest, uploads=not self._syncified)
        return self.in_flight

    def _without_redundant(self) -> list[Mutation]:
        """removeRedundantUpdateOps(): what later updates overwrite is not sent."""
        covered: dict[tuple[str, str], set[str]] = {}
        kept = []
        for each in reversed(self.queue):
            if each.type == "update" and len(each.keys) == 1 and "@@propmod" not in str(each.specs[0]):
                later = covered.setdefault((each.table, each.keys[0]), set())
                if set(each.specs[0]) <= later:
                    continue
                later |= set(each.specs[0])
            kept.append(each)
        return kept[::-1]

    def _operation(self, each: Mutation, piece: str) -> Operation:
        keys = tuple(self._encoded(key) for key in each.keys)
        many = each.specs if each.type == "modify" else [each.specs[at] for at in range(len(each.specs))]
        return Operation(
            table=each.table,
            type=each.type,  # type: ignore[arg-type]
            keys=keys,
            values=tuple(copy.deepcopy(each.values)),
            specs=tuple(copy.deepcopy(many)),
            criteria=each.criteria,
            base=self._base(each),
            rev=each.rev,
            txid=each.txid,
            piece=piece,
            user_id=self.user_id,
        )

    def _base(self, each: Mutation) -> int:
        assert each.rev is not None
        entries = [rev for rev in self.base_revs[each.table] if rev <= each.rev]
        known = self.base_revs[each.table][max(entries)] if entries else None
        if known is None or self.marker is None or known.epoch != self.marker.epoch:
            return UNKNOWN
        return known.private

    def _uploads(self) -> list[Operation]:
        """listSyncifiedChanges(): what was there before somebody signed in."""
        txid = f"upload-{self.identity}-{self._dice.random()}"
        return [
            Operation(
                table=table,
                type="insert",
                keys=tuple(map(self._encoded, rows)),
                values=tuple(copy.deepcopy(list(rows.values()))),
                base=UNKNOWN if self.marker is None else self.marker.private,
                txid=txid,
                piece=f"{txid}/{table}.0",
            )
            for table, all_rows in self.tables.items()
            if (rows := {k: v for k, v in all_rows.items() if v.get("realmId") == self.user_id})
        ]

    def _encoded(self, key: str) -> str:
        return f"{key}:{self.user_id}" if key.startswith("#") else key

    # What it is answered and told

    def answered(self, marker: Marker, changes: list[State]) -> None:
        """The answer to the request in flight."""
        assert self.in_flight is not None
        request, self.in_flight = self.in_flight, None
        self._syncified = True
        latest = request.latest
        added = [each for each in self.queue if each.rev is not None and each.rev > latest[each.table]]
        tables_with_more = {each.table for each in added}
        self.queue = added
        for table, entries in self.base_revs.items():
            if table not in tables_with_more:
                entries.clear()
            else:
                past = sorted(rev for rev in entries if rev <= latest[table] + 1)
                for rev in past[:-1]:
                    del entries[rev]
        for each in added:
            assert each.rev is not None
            latest[each.table] = max(latest[each.table], each.rev)
        self._update_base_revs(latest, marker)
        self.latest = latest
        self.marker = marker
        self._apply(changes, added)

    def lost(self) -> None:
        """No answer came."""
        self.in_flight = None

    def told(self, base: Marker, until: Marker, changes: list[State]) -> None:
        """A message of the socket; ignored where it is not about where we are."""
        if self.in_flight is not None or base != self.marker:
            return
        self._apply(changes, self.queue)
        for each in self.queue:
            assert each.rev is not None
            self.latest[each.table] = max(self.latest[each.table], each.rev)
        self._update_base_revs(self.latest, until)
        # What waits is sent again, whatever its number.
        self.latest = dict.fromkeys(self.latest, 0) | self.latest
        self.marker = until

    def _update_base_revs(self, latest: dict[str, int], marker: Marker) -> None:
        for table, entries in self.base_revs.items():
            entries[latest[table] + 1] = marker

    def _apply(self, changes: list[State], waiting: list[Mutation]) -> None:
        """filterServerChangesThroughAddedClientChanges(), then applyServerChanges()."""
        server: dict[tuple[str, str], Value | None] = {
            (table, key): copy.deepcopy(value) for table, key, value in changes
        }
        for place, (kind, spec) in _folded(waiting).items():
            if place not in server:
                continue
            there = server[place]
            if kind == "del" or (kind == "ups" and there is not None):
                del server[place]
            elif kind == "upd" and there is not None:
                for path, new in spec.items():
                    specs._set(there, specs.path_of(path), copy.deepcopy(new))
        for (table, key), value in server.items():
            local = key.removesuffix(f":{self.user_id}") if key.startswith("#") else key
            if value is None:
                self.tables[table].pop(local, None)
            else:
                self.tables[table][local] = value

    @property
    def sign(self) -> str:
        """Of the private realm."""
        return sign_of(self.uid)


def _folded(waiting: list[Mutation]) -> dict[tuple[str, str], tuple[str, Value]]:
    """applyOperations(): what waits, by the keys as the client has them."""
    folded: dict[tuple[str, str], tuple[str, Value]] = {}
    for each in sorted(waiting, key=lambda each: (each.ts, each.txid, each.op_no)):
        for at, key in enumerate(each.keys):
            place = each.table, key
            if each.type in ("insert", "upsert"):
                folded[place] = "ups", {}
            elif each.type == "delete":
                folded[place] = "del", {}
            else:
                spec = each.specs[0 if each.type == "modify" else at]
                kind, before = folded.get(place, ("upd", {}))
                folded[place] = (kind, before | spec if kind == "upd" else before)
    return folded
