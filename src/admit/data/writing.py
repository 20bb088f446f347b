"""Writing objects: the one way into a realm, in one unit for all who write at the same time.

The lock of a realm's row makes of all who write to it an order, whose numbers are the revisions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from msgspec.structs import replace
from sqlalchemy import and_, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from admit.accounts import users
from admit.clock import DAY_MS
from admit.data import announcing
from admit.data.announcing import Listening
from admit.data.changed import PUBLIC, Changed
from admit.data.merging import Merged, Scene, merge, needs_text
from admit.data.operations import KNOWS_ALL as KNOWS_ALL
from admit.data.operations import Batch as Batch
from admit.data.operations import Operation as Operation
from admit.data.operations import Rejection, Written
from admit.data.stored import Place, Row
from admit.data.tables import data_apps, objects, pushes, realms
from admit.events.log import logs
from admit.storage.lookups import Lookup, rows_of_all
from admit.storage.rows import Change, Insertion
from admit.storage.transaction import Transaction

TOPIC = "data"
"""Of the signal that a realm, its key `<app_id>/<realm>`, has changed."""
TEXTS_BYTES_MAX = 16_000_000
"""Of the objects that are looked at together."""
GONE = "user_not_found"
REMEMBERED_MS = 30 * DAY_MS
"""For so long what a client has pushed is remembered at least, and until it pushes something else."""
SWEPT = ""
"""The piece that stands for the last look at what a client need not remember any more: one a day."""
FORGET_ROWS = 1_000

_of_realm = (realms.c.app_id, realms.c.realm)
_revisions = select(realms.c.app_id, realms.c.realm, realms.c.revision)
LOCK_REALMS = Lookup(_revisions, _of_realm, lock=True)
ADD_REALMS = Insertion(insert(realms).on_conflict_do_nothing())
KEEP_REVISIONS = Change(realms, _of_realm, (realms.c.revision,))
CIRCUMSTANCES = Lookup(
    select(
        logs.c.app_id,
        logs.c.epoch,
        func.coalesce(data_apps.c.tells, "no").label("tells"),
        func.coalesce(data_apps.c.model_version, 0).label("model_version"),
        func.coalesce(realms.c.revision, 0).label("public"),
    ).select_from(
        logs.outerjoin(data_apps, data_apps.c.app_id == logs.c.app_id).outerjoin(
            realms, and_(realms.c.app_id == logs.c.app_id, realms.c.realm == PUBLIC)
        )
    ),
    (logs.c.app_id,),
)
_of_object = (objects.c.app_id, objects.c.table_name, objects.c.realm, objects.c.key)
HEADS = Lookup(select(*_of_object, objects.c.revision, objects.c.writer, objects.c.size), _of_object)
TEXTS = Lookup(select(*_of_object, objects.c.value), _of_object)
_of_piece = (pushes.c.app_id, pushes.c.uid, pushes.c.client, pushes.c.piece)
PIECES = Lookup(select(*_of_piece, pushes.c.at), _of_piece)
_push = insert(pushes)
REMEMBER = Insertion(
    _push.on_conflict_do_update(
        index_elements=["app_id", "uid", "client", "piece"], set_={"at": _push.excluded.at}
    )
)
_of_client = (
    pushes.c.app_id == bindparam("app"),
    pushes.c.uid == bindparam("uid"),
    pushes.c.client == bindparam("client"),
)
_old = select(pushes.c.piece).where(*_of_client, pushes.c.at < bindparam("before"), pushes.c.piece != SWEPT)
FORGET = delete(pushes).where(*_of_client, pushes.c.piece.in_(_old.limit(FORGET_ROWS)))
_object = insert(objects)
PUT = Insertion(
    _object.on_conflict_do_update(
        index_elements=["app_id", "table_name", "realm", "key"],
        set_={
            each.name: _object.excluded[each.name]
            for each in objects.columns
            if each.name not in objects.primary_key
        },
    )
)
TOUCH = Change(objects, _of_object, (objects.c.revision, objects.c.writer))

RealmKey = tuple[str, str]
"""An app_id and a realm of it."""
ObjectKey = tuple[str, str, str, str]
"""An app_id, a table, a realm and a key."""


ClientKey = tuple[str, str, str]
"""An app_id, a uid, and the identity of a client's local database."""


class Circumstances(NamedTuple):
    """What is so in an app: `public` is the revision of its public realm."""

    epoch: str
    tells: str
    model_version: int
    public: int


class Found(NamedTuple):
    """What a write meets, read while its realms are held. `revisions`: of the realms that are there."""

    revisions: dict[RealmKey, int]
    apps: dict[str, Circumstances]
    heads: Sequence[Sequence[Any]]
    pieces: Sequence[Sequence[Any]]


def write(tx: Transaction, batches: list[Batch]) -> list[Written]:
    """Writes each batch, in order; each of its transactions whole or not at all.

    In list form, for `Database.write_together`. A batch has no more keys than a unit may have.
    """
    realms_of_all = {(each.app_id, each.realm) for each in batches}
    found = _look(tx, realms_of_all, batches)
    if missing := realms_of_all - found.revisions.keys():
        _make(tx, missing)
        found = _look(tx, realms_of_all, batches)
    before, revisions = found.revisions, dict(found.revisions)
    apps = found.apps
    store = _Store(tx, found)
    written: list[Written] = []
    for portion in store.portions(batches):
        store.read_texts(portion)
        for batch in portion:
            written.append(_write_one(store, batch, revisions))
        store.flush()
    _keep(tx, revisions, before)
    changes = [each for each in store.changes if listens(apps[each.app_id])]
    announcing.announce(tx, changes, {app_id: _listening(app) for app_id, app in apps.items()})
    return written


def lock(tx: Transaction, keys: Iterable[RealmKey], *, make: bool = False) -> dict[RealmKey, int]:
    """Holds realms, so that nobody else writes to them until the transaction ends: their revisions.

    Those that are not there are absent, and nothing is held of them; `make`: unless they can be made.
    """
    wanted = set(keys)
    found = _revisions_of(LOCK_REALMS.rows(tx, wanted))
    if make and (missing := wanted - found.keys()):
        _make(tx, missing)
        found |= _revisions_of(LOCK_REALMS.rows(tx, missing))
    return found


def _write_one(store: "_Store", batch: Batch, revisions: dict[RealmKey, int]) -> Written:
    key = batch.app_id, batch.realm
    app = store.apps[batch.app_id]
    before = revisions.get(key)
    if before is None:
        return _gone(batch, app)
    merged = merge(store.scene(batch, before + 1))
    store.take(batch, merged)
    after = revisions[key] = before + 1 if merged.rows else before
    if batch.realm == PUBLIC:
        app = store.apps[batch.app_id] = app._replace(public=after)
    return Written(
        epoch=app.epoch,
        before=before,
        after=after,
        public=app.public,
        rejections=tuple(merged.rejections),
        corrected=tuple(merged.corrected),
        results=tuple(merged.results),
    )


class _Store:
    """The objects that batches meet, as they were stored and as they have become."""

    def __init__(self, tx: Transaction, found: Found) -> None:
        self.apps = found.apps
        self.changes: list[Changed] = []
        self._tx = tx
        self._rows: dict[RealmKey, dict[Place, Row]] = {}
        self._pieces: dict[ClientKey, set[str]] = {}
        self._swept: dict[ClientKey, int] = {}
        self._changed: dict[ObjectKey, Row] = {}
        self._remembered: dict[ObjectKey, int] = {}
        self._moments: dict[ObjectKey, int] = {}
        for app_id, table, realm, key, revision, writer, size in found.heads:
            self._rows.setdefault((app_id, realm), {})[table, key] = Row(revision, writer, size)
        for app_id, uid, client, piece, at in found.pieces:
            if piece == SWEPT:
                self._swept[app_id, uid, client] = at
            else:
                self._pieces.setdefault((app_id, uid, client), set()).add(piece)

    def portions(self, batches: Iterable[Batch]) -> Iterator[list[Batch]]:
        """The batches, as many together as may be looked at together."""
        portion: list[Batch] = []
        bytes_ = 0
        for batch in batches:
            rows = self._rows.get((batch.app_id, batch.realm), {})
            of_batch = sum(rows[place].size for place in self._wanted(batch) if place in rows)
            if portion and bytes_ + of_batch > TEXTS_BYTES_MAX:
                yield portion
                portion, bytes_ = [], 0
            portion.append(batch)
            bytes_ += of_batch
        yield portion

    def read_texts(self, batches: Iterable[Batch]) -> None:
        """Reads what is stored under those keys of which it matters."""
        wanted = {
            (batch.app_id, table, batch.realm, key)
            for batch in batches
            for table, key in self._wanted(batch)
            if (row := self._rows.get((batch.app_id, batch.realm), {}).get((table, key))) is not None
            and row.is_there
            and row.text is None
        }
        for app_id, table, realm, key, text in TEXTS.rows(self._tx, wanted):
            rows = self._rows[app_id, realm]
            rows[table, key] = replace(rows[table, key], text=text)

    def scene(self, batch: Batch, revision: int) -> Scene:
        """What `batch` meets."""
        app = self.apps[batch.app_id]
        public = self._rows.get((batch.app_id, PUBLIC), {})
        return Scene(
            batch=batch,
            revision=revision,
            rows=self._rows.get((batch.app_id, batch.realm), {}),
            public={place for place, row in public.items() if row.is_there},
            known_pieces=self._pieces.get((batch.app_id, batch.realm, batch.client), frozenset()),
            counts=batch.epoch is None or (batch.epoch == app.epoch and batch.known < revision),
            listens=listens(app),
        )

    def take(self, batch: Batch, merged: Merged) -> None:
        """Takes over what has become of the objects."""
        app_id, realm = batch.app_id, batch.realm
        rows = self._rows.setdefault((app_id, realm), {})
        rows |= merged.rows
        for (table, key), row in merged.rows.items():
            self._changed[app_id, table, realm, key] = row
            self._moments[app_id, table, realm, key] = batch.now
        if merged.pieces:
            client = app_id, realm, batch.client
            self._pieces.setdefault(client, set()).update(merged.pieces)
            for piece in merged.pieces:
                self._remembered[*client, piece] = batch.now
            if batch.is_last and self._swept.get(client, 0) < batch.now - DAY_MS:
                self._sweep(client, batch.now)
        self.changes += merged.changes
        if merged.rows:
            self._tx.signal(TOPIC, f"{app_id}/{realm}")

    def flush(self) -> None:
        """Stores what has become of the objects, and forgets their texts."""
        put, touched = [], []
        for key, row in sorted(self._changed.items()):
            if row.is_there and row.text is None:
                touched.append((*key, row.revision, row.writer))
            else:
                put.append((*key, row.revision, row.size, row.writer, self._moments[key], key[2], row.text))
            app_id, table, realm, name = key
            self._rows[app_id, realm][table, name] = replace(row, text=None)
        self._tx.write(PUT, put)
        self._tx.write(TOUCH, touched)
        self._tx.write(REMEMBER, [(*key, at) for key, at in sorted(self._remembered.items())])
        self._changed.clear()
        self._remembered.clear()

    def _sweep(self, client: ClientKey, now: int) -> None:
        """Forgets what the client will not repeat: all that waits there is in what it has just sent."""
        app_id, uid, name = client
        still = [(*client, piece, now) for piece in self._pieces[client]]
        self._tx.write(REMEMBER, still)
        of = {"app": app_id, "uid": uid, "client": name, "before": now - REMEMBERED_MS}
        if self._tx.execute(FORGET, of).rowcount < FORGET_ROWS:
            self._swept[client] = now
            self._remembered[*client, SWEPT] = now

    def _wanted(self, batch: Batch) -> set[Place]:
        """The keys of which the text matters."""
        reads_all = listens(self.apps[batch.app_id])
        return {
            (each.table, key)
            for each in batch.operations
            if reads_all or needs_text(each)
            for key in each.keys
        }


def _look(tx: Transaction, keys: Set[RealmKey], batches: Sequence[Batch]) -> Found:
    """Holds the realms that are there, and reads what the batches meet, on PostgreSQL in one round trip."""
    objects_of_all = {key for batch in batches for key in _keys(batch)}
    locked, of_apps, heads, pieces = rows_of_all(
        tx,
        (LOCK_REALMS, keys),
        (CIRCUMSTANCES, {(app_id,) for app_id, _ in keys}),
        (HEADS, objects_of_all),
        (PIECES, _pieces(batches)),
    )
    apps = _circumstances_of(of_apps)
    public = {(app_id, table, PUBLIC, key) for app_id, table, _, key in objects_of_all if apps[app_id].public}
    return Found(_revisions_of(locked), apps, [*heads, *HEADS.rows(tx, public - objects_of_all)], pieces)


def _make(tx: Transaction, missing: Set[RealmKey]) -> None:
    """Makes realms of those who are there.

    Users are locked: nobody makes the realm of somebody who is being deleted.
    """
    alive = users.by_uid(tx, [key for key in missing if key[1] != PUBLIC], lock=True)
    made = sorted(key for key in missing if key in alive or key[1] == PUBLIC)
    tx.write(ADD_REALMS, [(*key, 0) for key in made])


def _revisions_of(rows: Iterable[Sequence[Any]]) -> dict[RealmKey, int]:
    return {(row[0], row[1]): row[2] for row in rows}


def circumstances(tx: Transaction, app_ids: Iterable[str]) -> dict[str, Circumstances]:
    """What is so in each app that there is."""
    return _circumstances_of(CIRCUMSTANCES.rows(tx, [(app_id,) for app_id in app_ids]))


def _circumstances_of(rows: Iterable[Sequence[Any]]) -> dict[str, Circumstances]:
    return {row[0]: Circumstances(*row[1:]) for row in rows}


def _keep(tx: Transaction, revisions: Mapping[RealmKey, int], before: Mapping[RealmKey, int]) -> None:
    changed = [(*key, revision) for key, revision in sorted(revisions.items()) if revision != before[key]]
    tx.write(KEEP_REVISIONS, changed)


def _keys(batch: Batch) -> Iterator[ObjectKey]:
    for each in batch.operations:
        for key in each.keys:
            yield batch.app_id, each.table, batch.realm, key


def _pieces(batches: Iterable[Batch]) -> set[tuple[str, str, str, str]]:
    return {
        (batch.app_id, batch.realm, batch.client, piece)
        for batch in batches
        for each in batch.operations
        if each.piece
        for piece in (each.piece, SWEPT)
    }


def listens(app: Circumstances) -> bool:
    """Whether somebody wants to hear of what is written in an app."""
    return app.tells == "yes" or app.model_version > 0


def _listening(app: Circumstances) -> Listening:
    return Listening(tells=app.tells == "yes", model_version=app.model_version)


def _gone(batch: Batch, app: Circumstances) -> Written:
    """What came of a batch for the realm of somebody who does not exist any more."""
    message = "This user does not exist any more."
    txids = dict.fromkeys(each.txid for each in batch.operations)
    rejections = tuple(Rejection(GONE, message, txid) for txid in txids)
    return Written(epoch=app.epoch, before=0, after=0, public=app.public, rejections=rejections)
