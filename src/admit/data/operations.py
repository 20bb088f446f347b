"""What is written to a realm: operations in batches, and what came of them."""

from typing import Any, Literal

import msgspec

from admit.data.authors import Author
from admit.data.changed import PUBLIC
from admit.data.criteria import Criteria

__all__ = ["PUBLIC", "Author", "Batch", "Criteria", "Operation", "Rejection", "Result", "Written"]

KNOWS_ALL = 2**62
"""The base of who has seen everything: whoever writes by REST."""
UNKNOWN = -1
"""The base of who has a marker of another time or realm, or none."""

Kind = Literal["insert", "upsert", "update", "modify", "delete"]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation on objects of one table.

    `values`: of insert and upsert, one for each key. `specs`: what to change, by paths; one for each key, of
    `modify` one for all; of an upsert those that are applied where the object is there already. `criteria`,
    of modify and delete: everything that matches, beside `keys`; only what matches of `keys`. `additional`:
    another operation of the transaction has the same criteria, and looks for what nobody has listed.

    `found`: the keys are those of objects that the client has not listed. `fault`: name and message of a
    rejection, where what else the transaction does cannot be taken.

    `base`: the revision of the realm that was known when this was done. `rev`: its number in the queue of
    the client, which orders the operations of a table; None: after all others. `txid`: of the transaction,
    which is taken or rejected whole. `piece`: names this operation among all of this client; "": it is not
    remembered. `user_id`: in whose name it was done; "": the author's.
    """

    table: str
    type: Kind
    keys: tuple[str, ...]
    values: tuple[dict[str, Any], ...] = ()
    specs: tuple[dict[str, Any], ...] = ()
    criteria: Criteria | None = None
    additional: bool = False
    found: bool = False
    fault: tuple[str, str] | None = None
    base: int = KNOWS_ALL
    rev: int | None = None
    txid: str = ""
    piece: str = ""
    user_id: str = ""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Operations on one realm by one author.

    `realm`: as it is stored (a uid, or `rlm-public`), `realm_id`: as clients call it. `client`: the identity
    of the local database that they come from; "": none, as by REST. `epoch`: of the markers that the bases
    and `known` were read from; None: they are no revisions. `known`: the revision of the realm that the
    client says it has; UNKNOWN: it will be sent everything. `is_last`: nothing follows of what
    it has sent. `now`: UTC ms.
    """

    app_id: str
    realm: str
    realm_id: str
    client: str = ""
    author: Author
    operations: tuple[Operation, ...]
    epoch: str | None = None
    known: int = KNOWS_ALL
    is_last: bool = True
    now: int


class Rejection(msgspec.Struct, frozen=True):
    """A transaction of which nothing was written, and why: `name` for programs, `message` for people."""

    name: str
    message: str
    txid: str


class Result(msgspec.Struct, frozen=True):
    """What came of an operation: how many objects it has changed, and which of its keys were not there."""

    txid: str
    changed: int
    missing: tuple[str, ...] = ()


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a batch.

    `before`, `after`: the revisions of the realm around it; `before` is -1 where somebody else has written
    between its parts. `public`: the revision of the public realm. `corrected`: (table, key) of all
    whose state is, or may be, another than the client has.
    """

    epoch: str
    before: int
    after: int
    public: int
    rejections: tuple[Rejection, ...] = ()
    corrected: tuple[tuple[str, str], ...] = ()
    results: tuple[Result, ...] = ()
