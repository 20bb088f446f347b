"""What `dexie-cloud-addon` sends to /sync, read strictly. Pure.

It is TSON: JSON in which special types are objects with `$t`; what JavaScript calls undefined is one of them.
What no addon can send is refused as a whole. What it can send, but this server does not take, such as a key
that is too long, is rejected with its transaction by whoever writes it.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from admit.data import values
from admit.data.criteria import Criteria
from admit.data.markers import Marker
from admit.data.operations import UNKNOWN, Operation
from admit.errors import InvalidRequest

NAME_CHARACTERS_MAX = 200
REV_MAX = 2**53
PROBLEM_CHARACTERS_MAX = 300
STORABLE = r"^[^\x00\ud800-\udfff]*$"

# Of what a client sends about shared texts (Yjs), only updates would be lost.
_HARMLESS_TEXT_MESSAGES = frozenset({"sv", "doc-open", "doc-close", "aware"})

Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX, pattern=STORABLE)]
Number = Annotated[int, Meta(ge=0, le=REV_MAX)]


class Mutation(msgspec.Struct, frozen=True, rename="camel"):
    """One operation in the queue of a client: of many objects of one table."""

    type: Literal["insert", "upsert", "update", "modify", "delete"]
    keys: list[str]
    txid: Name
    rev: Number | None = None
    op_no: Number | None = None
    values: list[Any] | None = None
    change_specs: list[Any] | None = None
    change_spec: dict[str, Any] | None = None
    criteria: Any = None
    user_id: str | None = None
    is_additional_chunk: bool = False


class TableChanges(msgspec.Struct, frozen=True):
    """Operations on one table, in the order in which the client did them."""

    table: str
    muts: list[Mutation]


class TextMessage(msgspec.Struct, frozen=True):
    """What is asked or told about a shared text."""

    type: Any = None


class BaseRevision(msgspec.Struct, frozen=True, rename="camel"):
    """What the client knew of the server when its operations on a table had the number `client_rev`."""

    table_name: str
    client_rev: float
    server_rev: Any = None


class LastPull(msgspec.Struct, frozen=True, rename="camel"):
    """What the client has already."""

    server_revision: Any = None
    realms: list[str] = []


class SyncRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What of a sync request matters here. `last_pull`: None where the client has never pulled."""

    schema: dict[str, Any] = {}
    client_identity: Annotated[str, Meta(max_length=NAME_CHARACTERS_MAX, pattern=STORABLE)] = ""
    db_id: Any = msgspec.field(name="dbID", default=None)
    last_pull: LastPull | None = None
    base_revs: list[BaseRevision] = []
    changes: list[TableChanges] = []
    y: list[TextMessage] = []

    @property
    def pushes(self) -> bool:
        """Whether it carries operations."""
        return any(mut.keys or _is_there(mut.criteria) for each in self.changes for mut in each.muts)

    @property
    def carries_texts(self) -> bool:
        """Whether it carries changes of shared texts."""
        return any(not _is_harmless(message.type) for message in self.y)


def read(body: bytes) -> SyncRequest:
    """The request in `body`. Raises InvalidRequest with a sentence."""
    try:
        told = values.read_json(body)
        return msgspec.convert(_without_undefined(told), SyncRequest)
    except msgspec.ValidationError as problem:
        sentence = f"The body is not as it should be: {problem}"
        raise InvalidRequest(sentence[:PROBLEM_CHARACTERS_MAX]) from None


def schema_in(body: bytes, request: SyncRequest) -> msgspec.Raw:
    """The schema in the `body` of `request`, letter by letter where there is nothing odd in the body."""
    try:
        return msgspec.json.decode(body, type=_Echoed).schema
    except msgspec.DecodeError:  # half of a character, which is read and rejected elsewhere
        return msgspec.Raw(json.dumps(request.schema).encode())


class _Echoed(msgspec.Struct, frozen=True):
    schema: msgspec.Raw = msgspec.Raw(b"{}")


def operations(request: SyncRequest, last: Marker) -> Iterator[Operation]:
    """What is to be written. `last`: how far the client is; its epoch and realm are those of today, as far as
    it knows, so what it tells of another was never known to it.

    Raises InvalidRequest for what no addon can send.
    """
    bases = _bases(request.base_revs, last)
    for change in request.changes:
        of_table = bases.get(change.table, ())
        for index, mut in enumerate(change.muts):
            if mut.keys or _is_there(mut.criteria):
                base = last.private if mut.rev is None else _base(of_table, mut.rev)
                yield _operation(change.table, index, mut, base)


def _operation(table: str, index: int, mut: Mutation, base: int) -> Operation:
    """What was there before the login has no number: it is new here, whatever became of others of its key."""
    number = f"{table}.{index}" if mut.op_no is None else str(mut.op_no)
    type_, specs = mut.type, _specs(mut)
    criteria = _criteria(mut.criteria) if type_ in ("modify", "delete") else None
    if type_ == "modify" and criteria is None:
        type_, specs = "update", specs * len(mut.keys)
    if type_ == "upsert" and mut.op_no is None:
        type_ = "insert"
    return Operation(
        table=table,
        type=type_,
        keys=tuple(mut.keys),
        values=_values(mut),
        specs=specs,
        criteria=criteria,
        additional=mut.is_additional_chunk,
        base=base,
        rev=mut.rev,
        txid=mut.txid,
        piece=f"{mut.txid}/{number}",
        user_id=mut.user_id or "",
    )


def _values(mut: Mutation) -> tuple[Any, ...]:
    if mut.type not in ("insert", "upsert"):
        return ()
    if mut.values is None or len(mut.values) != len(mut.keys):
        raise InvalidRequest(f"An {mut.type} has as many values as keys.")
    return tuple(mut.values)


def _specs(mut: Mutation) -> tuple[Any, ...]:
    match mut.type:
        case "modify":
            if mut.change_spec is None:
                raise InvalidRequest("A modify has a changeSpec.")
            return (mut.change_spec,)
        case "update":
            # Of a criterion on the primary key the addon makes an update with one spec for all keys.
            specs = mut.change_specs or []
            if len(specs) == 1:
                return tuple(specs * len(mut.keys))
            if len(specs) != len(mut.keys):
                raise InvalidRequest("An update has as many changeSpecs as keys, or one for all.")
            return tuple(specs)
        case "upsert":
            specs = mut.change_specs or []
            whole = len(specs) != len(mut.keys) or any(each is None for each in specs)
            return () if whole else tuple(specs)
        case _:
            return ()


def _criteria(told: Any) -> Criteria | None:
    told = _present(told)
    if not _is_there(told):
        return None
    index, range_ = (told.get("index"), told.get("range")) if isinstance(told, dict) else (None, None)
    if not isinstance(range_, dict) or not isinstance(index, str | None):
        raise InvalidRequest("The criteria of an operation are an index and a range.")
    return Criteria(index, range_)


def _bases(told: list[BaseRevision], last: Marker) -> Mapping[str, list[tuple[float, int]]]:
    """By table and from which number on: the revision that was known."""
    bases: dict[str, list[tuple[float, int]]] = {}
    for each in told:
        marker = Marker.parse(each.server_rev)
        known = marker and (marker.epoch, marker.sign) == (last.epoch, last.sign)
        base = marker.private if marker and known else UNKNOWN
        bases.setdefault(each.table_name, []).append((each.client_rev, base))
    for of_table in bases.values():
        of_table.sort()
    return bases


def _base(of_table: Sequence[tuple[float, int]], rev: int) -> int:
    """What was known at number `rev`; UNKNOWN: nobody can say."""
    place = bisect_right(of_table, (rev, math.inf))
    return of_table[place - 1][1] if place else UNKNOWN


def _without_undefined(told: Any) -> Any:
    """`told` without the members that JavaScript calls undefined, of itself and of its operations."""
    told = _present(told)
    if isinstance(told, dict) and isinstance(told.get("changes"), list):
        told["changes"] = [_with_present_muts(each) for each in told["changes"]]
    return told


def _with_present_muts(change: Any) -> Any:
    if isinstance(change, dict) and isinstance(change.get("muts"), list):
        return change | {"muts": [_present(each) for each in change["muts"]]}
    return change


def _present(told: Any) -> Any:
    if not isinstance(told, dict):
        return told
    return {name: value for name, value in told.items() if not _is_undefined(value)}


def _is_undefined(value: Any) -> bool:
    return isinstance(value, dict) and value.get("$t") == "undefined"


def _is_there(criteria: Any) -> bool:
    return criteria is not None and criteria is not False


def _is_harmless(kind: object) -> bool:
    return isinstance(kind, str) and kind in _HARMLESS_TEXT_MESSAGES
