"""Objects written by key for programs: in order, each with its own outcome, or all of them or none.

What each operation comes to is decided before anything is written, under the locks of the realms: so an
operation that fails leaves the others as they would be without it, and nothing has to be undone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, assert_never

import msgspec

from admit.data import object_pages, writing
from admit.data.authors import Author
from admit.data.operations import Batch, Operation
from admit.data.realms import PUBLIC, Realm
from admit.storage.transaction import Transaction

OBJECTS_MAX = 1_000

Method = Literal["put", "insert", "patch", "delete"]
Outcome = Literal["done", "unchanged", "missing", "taken", "public", "gone", "unkeepable", "not_tried"]
"""missing: nothing to change or delete; taken: there is one; public: the public realm has the key.
gone: the person has been deleted. unkeepable: it would become too large, or what no object can be.
not_tried: another one has failed, before it or where it is all or none.
"""

Key = tuple[str, str, str]
_FAILED = frozenset({"missing", "taken", "public", "gone", "unkeepable", "not_tried"})


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `value`: the whole object, or of a patch the properties that change, by path."""

    method: Method
    realm: Realm
    table: str
    key: str
    value: dict[str, Any] = {}

    @property
    def place(self) -> Key:
        return self.table, self.realm.realm, self.key


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Operations, in order. `spares_unchanged`: an object that is put as it is stays untouched."""

    app_id: str
    author: Author
    wants: Sequence[Want]
    atomic: bool = False
    stops: bool = False
    spares_unchanged: bool = False
    now: int


def write(tx: Transaction, wanted: Wanted) -> list[Outcome]:
    """Does what is wanted; one outcome for each, in order. Raises Undone, by which nothing is done."""
    tx.begin_unit(2)
    writing.lock(tx, {(wanted.app_id, each.realm.realm) for each in wanted.wants}, make=True)
    outcomes = _decide(wanted, _present(tx, wanted))
    if wanted.atomic and any(each in _FAILED for each in outcomes):
        return [each if each in _FAILED else "not_tried" for each in outcomes]
    chosen = [want for want, outcome in zip(wanted.wants, outcomes, strict=True) if outcome == "done"]
    failed = _write(tx, wanted, chosen)
    outcomes = [failed.get(id(want), each) for want, each in zip(wanted.wants, outcomes, strict=True)]
    if failed and (wanted.atomic or wanted.stops):
        raise Undone([each if each in _FAILED else "not_tried" for each in outcomes])
    return outcomes


class Undone(Exception):
    """Of operations that are all or none, or end at the first that fails, one has failed after all."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__()
        self.outcomes = outcomes


def _write(tx: Transaction, wanted: Wanted, chosen: Sequence[Want]) -> dict[int, Outcome]:
    """Writes; returns what has failed all the same, by the identity of the operation."""
    by_realm: dict[Realm, list[Want]] = {}
    for want in chosen:
        by_realm.setdefault(want.realm, []).append(want)
    runs = {realm: list(_runs(wants)) for realm, wants in by_realm.items()}
    batches = [_batch(wanted, realm, of_realm) for realm, of_realm in runs.items()]
    failed: dict[int, Outcome] = {}
    for of_realm, written in zip(runs.values(), writing.write(tx, batches), strict=True):
        for rejection in written.rejections:
            outcome: Outcome = "gone" if rejection.name == writing.GONE else "unkeepable"
            failed |= dict.fromkeys(map(id, of_realm[int(rejection.txid)]), outcome)
    return failed


def has_failed(outcome: Outcome) -> bool:
    """Whether nothing came of the operation."""
    return outcome in _FAILED


def _present(tx: Transaction, wanted: Wanted) -> dict[Key, str]:
    """What is there of what is wanted, in its realm and in the public one."""
    places = {each.place for each in wanted.wants}
    public = {(each.table, PUBLIC, each.key) for each in wanted.wants}
    rows = object_pages.of_keys(tx, wanted.app_id, places | public)
    return {place: row.value or "" for place, row in rows.items()}


def _decide(wanted: Wanted, present: Mapping[Key, str]) -> list[Outcome]:
    there: dict[Key, str | None] = dict(present)
    outcomes: list[Outcome] = []
    for want in wanted.wants:
        if wanted.stops and outcomes and outcomes[-1] in _FAILED:
            outcomes.append("not_tried")
            continue
        outcome = _outcome(wanted, want, there)
        outcomes.append(outcome)
        if outcome == "done":
            there[want.place] = None if want.method == "delete" else ""
    return outcomes


def _outcome(wanted: Wanted, want: Want, there: Mapping[Key, str | None]) -> Outcome:
    present = there.get(want.place)
    match want.method:
        case "patch" | "delete":
            return "missing" if present is None else "done"
        case "put" | "insert":
            if want.realm.realm != PUBLIC and there.get((want.table, PUBLIC, want.key)) is not None:
                return "public"
            if want.method == "insert" and present is not None:
                return "taken"
            same = wanted.spares_unchanged and present and msgspec.json.decode(present) == want.value
            return "unchanged" if same else "done"
        case other:
            assert_never(other)


def _batch(wanted: Wanted, realm: Realm, runs: Sequence[Sequence[Want]]) -> Batch:
    return Batch(
        app_id=wanted.app_id,
        realm=realm.realm,
        realm_id=realm.realm_id,
        client="",
        author=wanted.author,
        operations=tuple(_operation(str(number), run) for number, run in enumerate(runs)),
        now=wanted.now,
    )


def _runs(wants: Sequence[Want]) -> Iterator[list[Want]]:
    """Neighbours of one kind in one table are one operation, as long as no key stands in it twice.

    Patches stay alone: what comes of one shows only when it is applied.
    """
    run: dict[str, Want] = {}
    kind: tuple[str, Method] | None = None
    for want in wants:
        if run and (kind != (want.table, want.method) or want.key in run or want.method == "patch"):
            yield list(run.values())
            run = {}
        kind = want.table, want.method
        run[want.key] = want
    if run:
        yield list(run.values())


def _operation(txid: str, run: Sequence[Want]) -> Operation:
    keys = tuple(each.key for each in run)
    values = tuple(each.value for each in run)
    table = run[0].table
    match run[0].method:
        case "put":
            return Operation(table=table, type="upsert", keys=keys, values=values, txid=txid)
        case "insert":
            return Operation(table=table, type="insert", keys=keys, values=values, txid=txid)
        case "patch":
            return Operation(table=table, type="update", keys=keys, specs=values, txid=txid)
        case "delete":
            return Operation(table=table, type="delete", keys=keys, txid=txid)
        case other:
            assert_never(other)
