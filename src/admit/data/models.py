"""Data models as they are stored: one per app, as the operator wrote it, and remembered by its version."""

from collections import defaultdict
from collections.abc import Mapping

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.data.model import Hook, Model, ModelOf
from admit.data.tables import data_apps, models
from admit.storage.transaction import Transaction

APPS_REMEMBERED_MAX = 1_000

_put = insert(models)
PUT = _put.on_conflict_do_update(
    index_elements=["app_id"],
    set_={name: _put.excluded[name] for name in ("version", "source", "model", "changed_at")},
)
_say = insert(data_apps)
SAY_VERSION = _say.on_conflict_do_update(
    index_elements=["app_id"], set_={"model_version": _say.excluded.model_version}
)
FIND = select(models).where(models.c.app_id == bindparam("app"))


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The data model of an app. `version` changes with it; `source` is what the operator wrote."""

    version: int
    source: str
    model: Model
    changed_at: int


class Hooks(msgspec.Struct, frozen=True):
    """The hooks of the tables of an app, each table with its model. Tables without any are not here."""

    by_table: Mapping[str, tuple[ModelOf, tuple[Hook, ...]]]
    models: Mapping[str, ModelOf]
    """The models of all tables, by their names."""


def put(tx: Transaction, app_id: str, source: str, model: Model, now: int) -> None:
    """Makes `model`, read from `source`, the model of the app.

    What is written at the same time finds the former model, or this one.
    """
    # As random as ids are: what a unit that failed has left in memory is never asked for.
    version = int(clock.new_id("mdl")[-12:], 16) or 1
    text = msgspec.json.encode(model).decode()
    row = {"app_id": app_id, "version": version, "source": source, "model": text, "changed_at": now}
    tx.execute(PUT, row)
    told = version if any(not each.of_people and each.hooks for each in model.models) else 0
    tx.execute(SAY_VERSION, {"app_id": app_id, "tells": "no", "model_version": told})


def find(tx: Transaction, app_id: str) -> Stored | None:
    """The model of the app; None: it has none."""
    row = tx.execute(FIND, {"app": app_id}).one_or_none()
    if row is None:
        return None
    model = msgspec.json.decode(row.model, type=Model)
    return Stored(version=row.version, source=row.source, model=model, changed_at=row.changed_at)


def hooks(tx: Transaction, app_id: str, version: int) -> Hooks:
    """The hooks of the tables of an app whose model has this `version`; read where it is not known yet."""
    known: dict[str, tuple[int, Hooks]] = tx.connection.info.setdefault("admit.models", {})
    remembered = known.get(app_id)
    if remembered is not None and remembered[0] == version:
        return remembered[1]
    stored = find(tx, app_id)
    found = _hooks_of(stored.model if stored else Model())
    if stored is not None and stored.version == version:
        if len(known) >= APPS_REMEMBERED_MAX:
            known.clear()
        known[app_id] = version, found
    return found


def _hooks_of(model: Model) -> Hooks:
    by_table: defaultdict[str, list[Hook]] = defaultdict(list)
    for each, hook in model.hooks():
        if not each.of_people:
            by_table[each.table].append(hook)
    named = {each.table: each for each in model.models if not each.of_people}
    return Hooks(
        {table: (named[table], tuple(found)) for table, found in by_table.items()},
        {each.name: each for each in named.values()},
    )
