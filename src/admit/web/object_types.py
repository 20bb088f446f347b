"""What the objects API takes and gives: objects as JourneyApps documents them, with the realm beside it.

An object is what is stored, with `id` (its key), `type` (its table) and `updated_at` in front. So a table
whose objects have properties of these names is better read by `/all`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from admit.clock import iso_date
from admit.data.object_pages import Row
from admit.data.object_writing import OBJECTS_MAX
from admit.web.row_lists import PAGE_ROWS_MAX

LIMIT = 400

RealmId = Annotated[str, Meta(max_length=1_000, description="A userId, or rlm-public.")]
Cursor = Annotated[str, Meta(max_length=4_000, description="The `next` of the page before.")]
Object = dict[str, Any]


class ObjectsWanted(msgspec.Struct, frozen=True, kw_only=True, rename={"realm_id": "realmId"}):
    """Which objects, in the order of realm and key. Any other name is a property and what it is."""

    realm_id: RealmId | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_ROWS_MAX)] = LIMIT
    after: Cursor | None = None


NAMES = frozenset(("realmId", "limit", "after"))


class ObjectWanted(msgspec.Struct, frozen=True, kw_only=True, rename={"realm_id": "realmId"}):
    """In which realm the object is, where several have its key, or where there is none yet."""

    realm_id: RealmId | None = None


class Objects(msgspec.Struct, frozen=True, kw_only=True):
    """A page of objects. `next` leads to the page behind it."""

    count: int
    more: bool
    next: str | None
    objects: list[Object]


class BatchOperation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """put: the whole object, there or not; post: a new one; patch: some properties; delete.

    `object` has `type`, the table; `id`, which a new one may lack where the table makes keys; `realmId`,
    which may be left out where one realm has the object.
    """

    method: Literal["put", "post", "patch", "delete"]
    object: Object


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Operations, done in order. `atomic`: all of them or none."""

    operations: Annotated[list[BatchOperation], Meta(max_length=OBJECTS_MAX)]
    stop_on_error: bool = False
    atomic: bool = False


class Fault(msgspec.Struct, frozen=True):
    """Why nothing came of an operation."""

    code: str
    message: str


class BatchResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of an operation: `status` as for one alone, and which object it was."""

    method: str
    status: int
    object: Object | None = None
    error: Fault | None = None


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One result for each operation, in order; `failed` of them came to nothing."""

    operations: list[BatchResult]
    failed: int


def shown(row: Row) -> Object:
    """The object in `row`."""
    return view(row.table, row.key, msgspec.json.decode(row.value or "{}"), row.changed_at)


def view(table: str, key: str, value: Mapping[str, Any], changed_at: int) -> Object:
    """The object with what is told of every object in front."""
    return {**value, "id": key, "type": table, "updated_at": iso_date(changed_at)}
