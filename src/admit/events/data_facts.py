"""The part of the catalog that is about objects: what people keep, and what was changed of it."""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from admit.events.members import Members

ChangeType = Literal["upsert", "update", "delete"]
Object = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]


class DataChange(Members, frozen=True, kw_only=True, rename={"realm_id": "realmId"}):
    """One object that was written. Its members bear the names that Dexie Cloud's web hooks have.

    `value` and `updates` are not sent to endpoints of the format thin.
    """

    type: Annotated[ChangeType, Meta(description="upsert: created or replaced.")]
    realm_id: Annotated[str, Meta(description="The userId of whose private realm it is, or rlm-public.")]
    table: Annotated[str, Meta(description="In which it stands.")]
    key: Annotated[str, Meta(description="A compound key is the JSON of its array.")]
    value: (
        Annotated[
            Object,
            Meta(description='Of an upsert: the whole object. Special types are `{"$t":…,"v":…}`.'),
        ]
        | UnsetType
    ) = UNSET
    updates: (
        Annotated[
            Object,
            Meta(description="Of an update: the new values by the paths of properties, like address.city."),
        ]
        | UnsetType
    ) = UNSET
    properties: (
        Annotated[
            tuple[str, ...],
            Meta(description="Of an upsert that has replaced an object: the properties that differ."),
        ]
        | UnsetType
    ) = UNSET


class DataChanged(Members, frozen=True, kw_only=True):
    """Objects of one realm were written. Recorded only while an endpoint or a task of the app asks for it by
    name, and told to nobody else.

    At most 100 changes or 1 MB of values; what was written together may be told by several events. Once the
    person is deleted whose realm it is, no change is left in it.
    """

    event_type: ClassVar[str] = "data.changed"

    changes: tuple[DataChange, ...]
