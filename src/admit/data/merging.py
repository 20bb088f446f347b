"""Which state wins: what becomes of the objects of a realm when a batch is written to it. Pure.

What a client has done long ago meets here what others have done since. Two things must come of it: one state,
the same for everybody, and the certainty which clients have it already. Whoever may have another is told.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any

import msgspec
from msgspec.structs import replace

from admit.data import criteria as ranges
from admit.data import specs
from admit.data.changed import PUBLIC, Changed
from admit.data.operations import UNKNOWN, Batch, Operation, Rejection, Result
from admit.data.stored import NEVER_THERE, Place, Row
from admit.data.values import Unacceptable, fault_of_key, fault_of_table, text_of

NOT_SUPPORTED = frozenset({"realms", "members", "roles"})
"""The tables by which clients share realms with each other."""
UNAUTHORIZED = "unauthorized"
"""Whose a client says an object is, as long as nobody is signed in."""
_NOBODYS = (None, "", UNAUTHORIZED, {"$t": "undefined"})

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch meets. `revision`: that of what it writes. `rows`: of all its keys, where there are any.

    `public`: which of its keys the public realm has. `known_pieces`: what has been written before.
    `counts`: the bases are revisions of this realm. `listens`: somebody wants to hear of changes.
    """

    batch: Batch
    revision: int
    rows: Mapping[Place, Row]
    public: Set[Place] = frozenset()
    known_pieces: Set[str] = frozenset()
    counts: bool = True
    listens: bool = False


class Merged(msgspec.Struct):
    """What a batch comes to. `rows`: what is to be stored. `pieces`: what is to be remembered."""

    rows: dict[Place, Row] = {}
    pieces: dict[str, None] = {}
    corrected: dict[Place, None] = {}
    rejections: list[Rejection] = []
    results: list[Result] = []
    changes: list[Changed] = []


class Refused(Exception):
    """A transaction is not taken."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message


def merge(scene: Scene) -> Merged:
    """What becomes of the objects when the batch is written. Each of its transactions is taken or left."""
    merged = Merged()
    known = set(scene.known_pieces)
    for txid, operations in by_transaction(scene.batch.operations):
        fresh = []
        for each in operations:
            if each.piece and each.piece in known:
                _pass_over(scene, merged, each)
            else:
                fresh.append(each)
                known.add(each.piece)
        try:
            _Taking(scene, merged).take(fresh)
        except Refused as refused:
            merged.rejections.append(Rejection(refused.name, refused.message, txid))
            _give_back(scene, merged, fresh)
        else:
            merged.pieces |= dict.fromkeys(each.piece for each in fresh if each.piece)
    return merged


def by_transaction(operations: tuple[Operation, ...]) -> Iterator[tuple[str, list[Operation]]]:
    """The operations of each transaction, in the order of their first ones."""
    if len(operations) == 1:
        yield operations[0].txid, list(operations)
        return
    found: dict[str, list[Operation]] = {}
    for each in operations:
        found.setdefault(each.txid, []).append(each)
    yield from found.items()


def check(batch: Batch, operation: Operation) -> None:
    """Raises Refused where nothing that is stored could make the operation acceptable."""
    if operation.fault is not None:
        raise Refused(*operation.fault)
    if operation.table in NOT_SUPPORTED:
        raise Refused(
            "not_supported",
            f"This server has no realms beside the private one and {PUBLIC}: nothing can be written to the "
            f"table {operation.table}.",
        )
    if operation.user_id not in ("", batch.author.user_id):
        raise Refused("other_user", "This was done in the name of another user.")
    if batch.realm == PUBLIC and not batch.author.may_write_public:
        raise Refused("read_only", f"{PUBLIC} cannot be written by this client.")
    fault = fault_of_table(operation.table) or next(filter(None, map(fault_of_key, operation.keys)), None)
    if fault is None and operation.criteria is not None:
        fault = ranges.fault_of(operation.criteria)
    if fault is not None:
        raise Refused("invalid", fault)


def check_values(batch: Batch, operation: Operation) -> None:
    """As `check`, of the objects in the operation."""
    for value in operation.values:
        try:
            text_of(_stamped(batch, value))
        except Unacceptable as error:
            raise Refused("invalid", error.message) from None


class _Taking:
    """A transaction on its way into `merged`; what it writes is seen there when all of it was taken."""

    def __init__(self, scene: Scene, merged: Merged) -> None:
        self._scene = scene
        self._batch = scene.batch
        self._merged = merged
        self._rows: dict[Place, Row] = {}
        self._corrected: dict[Place, None] = {}
        self._changes: list[Changed] = []
        self._changed = 0
        self._missing: list[str] = []

    def take(self, operations: list[Operation]) -> None:
        """Takes them all. Raises Refused, and then has changed nothing."""
        results = []
        for operation in operations:
            check(self._batch, operation)
            self._changed, self._missing = 0, []
            for index, key in enumerate(operation.keys):
                place = operation.table, key
                if place in self._scene.public and self._batch.realm != PUBLIC:
                    if operation.found:
                        continue
                    raise Refused(
                        "public", f"This object belongs to {PUBLIC}, which is read here, not written."
                    )
                try:
                    self._take_one(operation, index, place)
                except Unacceptable as error:
                    raise Refused("invalid", error.message) from None
            results.append(Result(operation.txid, self._changed, tuple(self._missing)))
        merged = self._merged
        merged.rows |= self._rows
        merged.corrected |= self._corrected
        merged.results += results
        merged.changes += self._changes

    def _take_one(self, operation: Operation, index: int, place: Place) -> None:
        row = self._row(place)
        if operation.found and not self._is_found(operation, row):
            return
        match operation.type:
            case "insert":
                self._put(operation, place, row, operation.values[index])
            case "upsert" if row.is_there and operation.specs:
                self._update(operation, place, row, operation.specs[index])
            case "upsert":
                # Who deletes wins over who has not known of it, and over nobody else.
                if row.is_deleted and row.revision > self._base(operation) and not self._is_own(row):
                    self._correct(place, row)
                else:
                    self._put(operation, place, row, operation.values[index])
            case "update":
                self._update(operation, place, row, operation.specs[index])
            case "modify":
                if self._is_meant(operation, place, row):
                    self._update(operation, place, row, operation.specs[0])
            case "delete":
                if self._is_meant(operation, place, row):
                    self._delete(operation, place, row)

    def _is_meant(self, operation: Operation, place: Place, row: Row) -> bool:
        """Whether the object matches the criteria, if there are any."""
        if operation.criteria is None or not row.is_there:
            return True
        value = _decode(_text(row))
        if ranges.matches(operation.criteria, place[1], value, self._batch.realm_id):
            return True
        if not operation.found:
            self._correct(place, row)
        return False

    def _is_found(self, operation: Operation, row: Row) -> bool:
        """Whether an object that the client does not have is to be changed. What has its writing on it since
        was so before, in a part that a crash has separated from this one.
        """
        return row.is_there and not (row.revision > self._base(operation) and self._is_own(row))

    def _put(self, operation: Operation, place: Place, row: Row, given: dict[str, Any]) -> None:
        value = _stamped(self._batch, given)
        before = self._before(row)
        self._store(place, row, text_of(value), self._is_sure(operation, row) and value is given)
        if self._scene.listens:
            self._tell(place, "upsert", value, before)

    def _update(self, operation: Operation, place: Place, row: Row, spec: dict[str, Any]) -> None:
        if not row.is_there:
            self._missing.append(place[1])
            self._correct(place, row)
            return
        before = self._before(row)
        applied = specs.apply(spec, _decode(_text(row)))
        value = _stamped(self._batch, applied.value)
        sure = self._is_sure(operation, row) and applied.sure and value is applied.value
        self._store(place, row, text_of(value), sure)
        if self._scene.listens:
            self._tell(place, "update", value, before, applied.updates)

    def _delete(self, operation: Operation, place: Place, row: Row) -> None:
        if row.is_deleted:
            self._missing.append(place[1])
            return
        if not row.is_there:
            self._missing.append(place[1])
        before = self._before(row)
        # Where nothing is, a device may still have something that this server has lost.
        self._store(place, row, None, self._is_sure(operation, row))
        if self._scene.listens and before is not None:
            self._tell(place, "delete", None, before)

    def _correct(self, place: Place, row: Row) -> None:
        """Sees to it that the client learns the state of an object, even if it misses the answer."""
        self._corrected[place] = None
        if (corrected := _corrected(self._scene, place, row)) is not None:
            self._rows[place] = corrected

    def _store(self, place: Place, row: Row, text: str | None, is_sure: bool) -> None:
        client = self._batch.client
        self._changed += 1
        if not client:
            writer = ""
        elif is_sure:
            writer = client
        else:
            writer = f"~{client}"
            self._corrected[place] = None
        size = 0 if text is None else bytes_of(text)
        self._rows[place] = Row(self._scene.revision, writer, size, text)

    def _tell(
        self,
        place: Place,
        kind: Any,
        value: dict[str, Any] | None,
        before: dict[str, Any] | None,
        updates: dict[str, Any] | None = None,
    ) -> None:
        batch = self._batch
        self._changes.append(
            Changed(
                app_id=batch.app_id,
                realm=batch.realm,
                realm_id=batch.realm_id,
                author=batch.author,
                table=place[0],
                key=place[1],
                type=kind,
                value=value,
                before=before,
                updates=updates,
                now=batch.now,
            )
        )

    def _row(self, place: Place) -> Row:
        row = self._rows.get(place) or self._merged.rows.get(place) or self._scene.rows.get(place)
        return NEVER_THERE if row is None else row

    def _before(self, row: Row) -> dict[str, Any] | None:
        return _decode(_text(row)) if self._scene.listens and row.is_there else None

    def _base(self, operation: Operation) -> int:
        return min(operation.base, self._batch.known) if self._scene.counts else UNKNOWN

    def _is_sure(self, operation: Operation, row: Row) -> bool:
        """Whether the client had the object as it is when it changed it."""
        if operation.found:
            return False
        base = self._base(operation)
        is_own = row.writer == self._batch.client and base != UNKNOWN
        return row.revision <= max(base, 0) or is_own

    def _is_own(self, row: Row) -> bool:
        client = self._batch.client
        return bool(client) and row.writer in (client, f"~{client}")


def _corrected(scene: Scene, place: Place, row: Row) -> Row | None:
    """How an object is stored so that the client is surely sent it; None: it will be anyway.

    What others have written since its last pull, it is sent by the next one; what is hidden by an object of
    the public realm stays so.
    """
    batch = scene.batch
    known = batch.known if scene.counts else UNKNOWN
    is_hidden = place in scene.public
    if not batch.client or is_hidden or (row.revision > known and row.writer != batch.client):
        return None
    writer = f"~{batch.client}" if row.writer == batch.client else ""
    return replace(row, revision=scene.revision, writer=writer)


def _give_back(scene: Scene, merged: Merged, operations: list[Operation]) -> None:
    """Lets the client have what is stored of the keys of a transaction that was not taken."""
    for operation in operations:
        for key in operation.keys:
            place = operation.table, key
            _correct(scene, merged, place, merged.rows.get(place) or scene.rows.get(place))


def _correct(scene: Scene, merged: Merged, place: Place, row: Row | None) -> None:
    merged.corrected[place] = None
    if row is not None and (corrected := _corrected(scene, place, row)) is not None:
        merged.rows[place] = corrected


def _pass_over(scene: Scene, merged: Merged, operation: Operation) -> None:
    """Does nothing again of what was done before. The client did not know that: what others have done since,
    it may have taken for older than this, and dropped.
    """
    merged.pieces[operation.piece] = None
    for key in operation.keys:
        place = operation.table, key
        row = merged.rows.get(place) or scene.rows.get(place)
        if place in scene.public or (row is not None and row.writer != scene.batch.client):
            _correct(scene, merged, place, row)


def _stamped(batch: Batch, value: Any) -> dict[str, Any]:
    """The object with its realm, and its owner where it is somebody's. Raises Refused for another realm, and
    for what is no object.
    """
    if not isinstance(value, dict):
        raise Refused("invalid", "An object is a JSON object.")
    realm_id, owner = value.get("realmId"), value.get("owner")
    if realm_id == batch.realm_id and (batch.realm == PUBLIC or owner not in _NOBODYS):
        return value
    if realm_id != batch.realm_id and realm_id not in _NOBODYS:
        raise Refused("foreign_realm", "Objects can be written to the private realm of the user alone.")
    stamped = value | {"realmId": batch.realm_id}
    return stamped if batch.realm == PUBLIC or owner not in _NOBODYS else stamped | {"owner": batch.realm_id}


def bytes_of(text: str) -> int:
    """The bytes that `text` takes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def needs_text(operation: Operation) -> bool:
    """Whether what an operation comes to depends on what the objects hold."""
    return bool(operation.specs) or operation.criteria is not None


def _text(row: Row) -> str:
    assert row.text is not None, "what is merged has been read"
    return row.text
