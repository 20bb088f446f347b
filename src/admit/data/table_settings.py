"""What is known of an app's tables: where the key of an object is, and whether keys are made here.

Clients tell it of the tables that they sync, and operators may tell it first, or correct it.
"""

import re
from collections.abc import Iterable

import msgspec
from sqlalchemy import Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from admit.data.tables import data_tables
from admit.errors import Conflict, InvalidRequest
from admit.storage.lookups import Lookup
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

TABLES_MAX = 500
PATH_CHARACTERS_MAX = 200
PREFIX_CHARACTERS_MAX = 20

_PART = r"[^\s\[\]+.,&*@$#:\x00-\x1f\x7f][^\[\]+.,&*@\x00-\x1f\x7f]*"
_PATH = rf"{_PART}(\.{_PART})*"
_PRIMARY_KEY = re.compile(rf"|{_PATH}|\[{_PATH}(\+{_PATH})+\]")
_PREFIX = re.compile(r"[0-9A-Za-z_-]*")


class TableSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A table. `primary_key`: as Dexie has it, such as `id`, `a.b` and `[a+b]`; "": keys stand beside them.

    `generated`: an object without a key is given one, which begins with `id_prefix`.
    """

    name: str
    primary_key: str = "id"
    id_prefix: str = ""
    generated: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The paths that make the key: none where it stands beside the object."""
        path = self.primary_key
        return tuple(path[1:-1].split("+")) if path.startswith("[") else (path,) if path else ()

    @property
    def is_compound(self) -> bool:
        return self.primary_key.startswith("[")


_COLUMNS = (data_tables.c.name, data_tables.c.primary_key, data_tables.c.id_prefix, data_tables.c.generated)
OF_APP = (
    select(*_COLUMNS).where(data_tables.c.app_id == bindparam("app", type_=Text)).order_by(data_tables.c.name)
)
BY_NAME = Lookup(select(*_COLUMNS), (data_tables.c.app_id, data_tables.c.name))
COUNT = select(func.count()).where(data_tables.c.app_id == bindparam("app", type_=Text))
_told = insert(data_tables)
PUT = Insertion(
    _told.on_conflict_do_update(
        index_elements=[data_tables.c.app_id, data_tables.c.name],
        set_={name: _told.excluded[name] for name in ("primary_key", "id_prefix", "generated")},
    )
)


def check(setting: TableSetting) -> None:
    """Raises InvalidRequest for a setting that cannot be. The name is checked where names are."""
    if len(setting.primary_key) > PATH_CHARACTERS_MAX or not _PRIMARY_KEY.fullmatch(setting.primary_key):
        raise InvalidRequest('A primary key is a path such as "id", "a.b" or "[a+b]", or empty.')
    if "__proto__" in re.split(r"[\[\]+.]", setting.primary_key):
        raise InvalidRequest("A primary key is not at __proto__.")
    if len(setting.id_prefix) > PREFIX_CHARACTERS_MAX or not _PREFIX.fullmatch(setting.id_prefix):
        raise InvalidRequest(f"A prefix has at most {PREFIX_CHARACTERS_MAX} letters, digits, _ and -.")
    if setting.generated and len(setting.parts) != 1:
        raise InvalidRequest("Keys are made only where the key is one property of the object.")


def of_app(tx: Transaction, app_id: str) -> list[TableSetting]:
    """All tables that are known, by name."""
    return [_setting(*map(str, row)) for row in tx.execute(OF_APP, {"app": app_id}).all()]


def of_names(tx: Transaction, app_id: str, names: Iterable[str]) -> dict[str, TableSetting]:
    """The tables of these names that are known."""
    found = (_setting(*row) for row in BY_NAME.rows(tx, [(app_id, name) for name in names]))
    return {each.name: each for each in found}


def put(tx: Transaction, app_id: str, settings: list[TableSetting], now: int) -> Conflict | None:
    """Tells of tables, or corrects what is known of them; none of them where the app would have too many."""
    names = {each.name for each in settings}
    new = len(names - of_names(tx, app_id, names).keys())
    if new and tx.execute(COUNT, {"app": app_id}).scalar_one() + new > TABLES_MAX:
        return Conflict(f"An app has at most {TABLES_MAX} tables.")
    by_name = {each.name: each for each in settings}
    tx.write(
        PUT,
        [
            (app_id, each.name, each.primary_key, each.id_prefix, "yes" if each.generated else "no", now)
            for each in by_name.values()
        ],
    )
    return None


def _setting(name: str, primary_key: str, id_prefix: str, generated: str) -> TableSetting:
    return TableSetting(name=name, primary_key=primary_key, id_prefix=id_prefix, generated=generated == "yes")
