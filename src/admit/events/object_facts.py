"""The part of the catalog that is about web hooks of the data model."""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from admit.events.members import Members

Hook = Annotated[str, Meta(description="The web hook of the data model, by its name.")]
ModelName = Annotated[str, Meta(description="The model of the object.")]
RealmId = Annotated[str, Meta(description="Where the object lives: a userId, or rlm-public.")]
Operation = Annotated[
    Literal["create", "update"], Meta(description="Whether the object was made, or changed.")
]
Object = Annotated[
    msgspec.Raw,
    Meta(
        description="The fields of the object, `id`, `type` (the model) and `updated_at`, and what the web "
        "hook embeds. Gone once the person is deleted; only `id`, `type` and `updated_at` where the endpoint "
        "is thin, or where it is over 1 MB: then it is `too_large`.",
        extra_json_schema={"type": "object"},
    ),
]


class ObjectReady(Members, frozen=True, kw_only=True):
    """What a web hook of the type ready requires is there, for the first time. Told once per object.

    Told to those who name it, and to endpoints of the web hook.
    """

    event_type: ClassVar[str] = "object.ready"

    hook: Hook
    model: ModelName
    realm_id: RealmId
    operation: Operation
    object: Object | UnsetType = UNSET


class ObjectUpdated(Members, frozen=True, kw_only=True):
    """An object was saved, and what a web hook of the type update requires is there.

    Told to those who name it, and to endpoints of the web hook.
    """

    event_type: ClassVar[str] = "object.updated"

    hook: Hook
    model: ModelName
    realm_id: RealmId
    operation: Operation
    object: Object | UnsetType = UNSET
