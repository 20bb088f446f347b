"""Learning an app's tables from its clients: what operators have told, or was learned before, stays."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy.dialects.postgresql import insert

from admit.data import table_settings
from admit.data.table_settings import COUNT, TABLES_MAX, TableSetting
from admit.data.tables import data_tables
from admit.data.values import fault_of_table
from admit.errors import InvalidRequest
from admit.storage.database import Database
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

ADD = Insertion(insert(data_tables).on_conflict_do_nothing())


class Lesson(msgspec.Struct, frozen=True):
    """What a client says of the tables of an app. `now`: UTC ms."""

    app_id: str
    settings: tuple[TableSetting, ...]
    now: int


class KnownTables:
    """The names of tables that this process has seen in the database, so that most syncs ask for nothing."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._names: defaultdict[str, set[str]] = defaultdict(set)

    async def learn(self, app_id: str, told: Mapping[str, Any], now: int) -> None:
        """Keeps what `told`, the schema of a client by name, says of tables that nobody knows yet."""
        known = self._names[app_id]
        unknown = islice((name for name in told if name not in known), TABLES_MAX)
        settings = [each for name in unknown if (each := setting_of(name, told[name])) is not None]
        if settings:
            lesson = Lesson(app_id, tuple(settings), now)
            learned = await self._db.write_together(_learn, lesson)
            known |= learned


def setting_of(name: str, told: Any) -> TableSetting | None:
    """What the addon's schema says of a table; None: it cannot be one. Pure."""
    if fault_of_table(name) is not None or not isinstance(told, dict):
        return None
    key, prefix = told.get("primaryKey") or "", told.get("idPrefix") or ""
    if not (isinstance(key, str) and isinstance(prefix, str)):
        return None
    generated = told.get("generatedGlobalId") is True
    setting = TableSetting(
        name=name, primary_key=key.removeprefix("@"), id_prefix=prefix, generated=generated
    )
    try:
        table_settings.check(setting)
    except InvalidRequest:
        return None
    return setting


def _learn(tx: Transaction, lessons: list[Lesson]) -> list[set[str]]:
    """The names of each lesson that are known now."""
    return [_learn_of(tx, each) for each in lessons]


def _learn_of(tx: Transaction, lesson: Lesson) -> set[str]:
    names = {each.name for each in lesson.settings}
    known = table_settings.of_names(tx, lesson.app_id, names).keys()
    room = TABLES_MAX - tx.execute(COUNT, {"app": lesson.app_id}).scalar_one()
    new: Sequence[TableSetting] = [each for each in lesson.settings if each.name not in known][: max(0, room)]
    tx.write(
        ADD,
        [
            (
                lesson.app_id,
                each.name,
                each.primary_key,
                each.id_prefix,
                "yes" if each.generated else "no",
                lesson.now,
            )
            for each in new
        ],
    )
    return {*known, *(each.name for each in new)}
