"""Operations on objects from programs, one or many, each with its outcome. Source: docs/compat.md."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec

from admit.accounts.apps import App
from admit.data import new_objects, object_keys, object_pages, object_writing, realms
from admit.data.authors import Author
from admit.data.object_writing import Outcome, Want
from admit.data.realms import PUBLIC, PUBLIC_REALM, Realm
from admit.data.table_settings import TableSetting
from admit.errors import AdmitError, InvalidRequest
from admit.gateway import Gateway
from admit.web import row_changes
from admit.web.row_access import known_realms, no_such_realm
from admit.web.row_changes import Placed

Verb = Literal["put", "post", "patch", "delete"]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as somebody asks for it. `key`, `realm_id`: None where they are not said."""

    verb: Verb
    table: str
    key: str | None
    realm_id: str | None
    value: dict[str, Any]


class Done(msgspec.Struct, frozen=True):
    """What came of it: the operation as it was done, or why it was not."""

    want: Want | None
    error: AdmitError | None


async def do(
    gateway: Gateway,
    app: App,
    author: Author,
    asked: Sequence[Asked],
    *,
    atomic: bool = False,
    stops: bool = False,
) -> list[Done]:
    """Does what is asked, in order and in one commit.

    Raises with the first error where it is `atomic`: then nothing was done.
    """
    planned = await _plan(gateway, app, asked)
    if atomic:
        _raise_first(planned)
    if stops:
        first = next(
            (place for place, each in enumerate(planned) if isinstance(each, AdmitError)), len(planned)
        )
        planned = [*planned[: first + 1], *(row_changes.error_of("not_tried") for _ in planned[first + 1 :])]
    wants = [each for each in planned if isinstance(each, Want)]
    outcomes = iter(await row_changes.write(gateway, app, author, wants, atomic=atomic, stops=stops))
    done = list(_joined(planned, outcomes, stops=stops))
    if atomic:
        _raise_first([each.error for each in done])
    return done


def _joined(
    planned: Sequence[Want | AdmitError], outcomes: Iterator[Outcome], *, stops: bool
) -> Iterator[Done]:
    stopped = False
    for each in planned:
        if isinstance(each, AdmitError):
            yield Done(None, row_changes.error_of("not_tried") if stopped else each)
            continue
        outcome = next(outcomes)
        failed = object_writing.has_failed(outcome)
        yield Done(each, row_changes.error_of(outcome) if failed else None)
        stopped = stopped or (failed and stops)


def _raise_first(planned: Sequence[Want | AdmitError | None]) -> None:
    """Raises the first error, with its place, that is not what became of an operation because of others."""
    failed = [(place, each) for place, each in enumerate(planned) if isinstance(each, AdmitError)]
    for place, error in sorted(failed, key=lambda each: each[1].code == "not_tried"):
        if len(planned) == 1:
            raise error
        raise type(error)(f"Operation {place}: {error.message} Nothing was done.", code=error.code)


async def _plan(gateway: Gateway, app: App, asked: Sequence[Asked]) -> list[Want | AdmitError]:
    """The operation for each, or what is wrong with it."""
    tables = await _tables(gateway, app, {each.table for each in asked})
    keyed = [_with_key(each, tables[each.table]) for each in asked]
    places = await _Places.look(gateway, app, tables, keyed)
    now = gateway.clock()
    planned: list[Want | AdmitError] = []
    for number, each in enumerate(keyed):
        try:
            planned.append(places.want(each, now + number))
        except AdmitError as error:
            planned.append(error)
    return planned


Tables = Mapping[str, TableSetting | AdmitError]


async def _tables(gateway: Gateway, app: App, names: set[str]) -> Tables:
    """What is known of the tables, or why there can be none of that name."""
    tables: dict[str, TableSetting | AdmitError] = {}
    for name in names:
        try:
            row_changes.check_table(name)
        except AdmitError as error:
            tables[name] = error
    return tables | await row_changes.settings_of(gateway.db, app, names - tables.keys())


def _with_key(asked: Asked, table: TableSetting | AdmitError) -> Asked:
    """`asked` with the key that its object carries, where it says none itself."""
    if asked.key is not None or isinstance(table, AdmitError):
        return asked
    return msgspec.structs.replace(asked, key=object_keys.key_in(table, asked.value))


class _Places:
    """Which tables and realms there are among those asked for, and where the objects are."""

    def __init__(
        self,
        tables: Tables,
        realms_: Mapping[str, Realm | AdmitError],
        found: Mapping[tuple[str, str], Sequence[Realm]],
    ) -> None:
        self._tables = tables
        self._realms = realms_
        self._found = {place: list(each) for place, each in found.items()}

    @classmethod
    async def look(cls, gateway: Gateway, app: App, tables: Tables, asked: Sequence[Asked]) -> "_Places":
        """Looks everything up that `asked` names."""
        db = gateway.db
        realm_ids = {each.realm_id for each in asked if each.realm_id is not None}
        named: dict[str, Realm | AdmitError] = {each: no_such_realm(each) for each in realm_ids}
        named |= await known_realms(db, app, realm_ids)
        wanted = {
            (each.table, _plain(each.key)) for each in asked if each.key is not None and each.realm_id is None
        }
        rows = await db.read(partial(object_pages.wherever, app_id=app.app_id, wanted=wanted))
        kept_in = {row.realm for several in rows.values() for row in several}
        there = await db.read(partial(realms.named, app_id=app.app_id, realms=kept_in))
        found = {
            place: [there[row.realm] for row in several if row.realm in there]
            for place, several in rows.items()
        }
        return cls(tables, named, found)

    def want(self, asked: Asked, at_ms: int) -> Want:
        """The operation that `asked` means. Raises what is wrong with it."""
        table = self._tables[asked.table]
        if isinstance(table, AdmitError):
            raise table
        realm = self._realm(asked)
        if asked.verb in ("patch", "delete"):
            if asked.key is None:
                raise InvalidRequest("Say the id of the object.")
            if asked.verb == "delete":
                return row_changes.to_delete(asked.table, realm, asked.key)
            return row_changes.to_patch(asked.table, realm, asked.key, asked.value)
        want = row_changes.to_put(Placed(table, realm, asked.value, asked.key), at_ms)
        place = asked.table, want.key
        self._found[place] = self._found.get(place) or [realm]
        return want if asked.verb == "put" else msgspec.structs.replace(want, method="insert")

    def _realm(self, asked: Asked) -> Realm:
        if asked.realm_id is not None:
            realm = self._realms[asked.realm_id]
            if isinstance(realm, AdmitError):
                raise realm
            return realm
        several = [] if asked.key is None else self._found.get((asked.table, _plain(asked.key)), [])
        if len(several) > 1:
            raise row_changes.in_several_realms()
        if several:
            return several[0]
        if asked.verb in ("patch", "delete"):
            raise row_changes.no_such_object()
        raise InvalidRequest(f"A new object needs a realm. Say the realmId: a userId, or {PUBLIC}.")


def _plain(key: str | None) -> str:
    return new_objects.kept_key(key or "", PUBLIC_REALM)
