"""A data model: what the objects of an app look like, and which web hooks they have. Pure."""

from collections.abc import Iterator
from typing import Literal

import msgspec

HookType = Literal["ready", "update"]
State = Literal["present", "uploaded"]
FieldType = Literal["text", "number", "integer", "boolean", "date", "datetime", "json", "attachment"]
Path = tuple[str, ...]

PEOPLE = ("user", "device", "session", "enrollment")
"""The models that every app has: who lives here. In a hook of another model they are those of whoever has
written the object."""


class Field(msgspec.Struct, frozen=True):
    """A member of the objects of a model."""

    name: str
    type: FieldType


class Relation(msgspec.Struct, frozen=True):
    """An object of `model`, whose key is in `member`; "" where the other has the key of this one."""

    name: str
    model: str
    member: str = ""


class HookField(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook looks at. `required`: it fires only where this is there; `embed`: what it leads to is told.

    `state` uploaded: an attachment whose content is here. Contents come with their objects, so that this is
    the same as present.
    """

    path: Path
    required: bool = True
    embed: bool = True
    state: State = "present"


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A web hook of a model. `ready` fires once per object, `update` at every save.

    `task`: the task that it starts; "": it is told to endpoints.
    """

    name: str
    type: HookType
    task: str = ""
    fields: tuple[HookField, ...] = ()

    @property
    def required(self) -> tuple[Path, ...]:
        """What must be there."""
        return tuple(each.path for each in self.fields if each.required)

    @property
    def embedded(self) -> tuple[Path, ...]:
        """What is told with the object."""
        return tuple(each.path for each in self.fields if each.embed)


class ModelOf(msgspec.Struct, frozen=True, kw_only=True):
    """The objects of one table. For one of PEOPLE `table` is "", and it has no fields of its own."""

    name: str
    table: str
    fields: tuple[Field, ...] = ()
    belongs_to: tuple[Relation, ...] = ()
    has_many: tuple[Relation, ...] = ()
    hooks: tuple[Hook, ...] = ()

    @property
    def of_people(self) -> bool:
        """Whether it is about who lives here, not about a table."""
        return self.name in PEOPLE


class Model(msgspec.Struct, frozen=True):
    """All models of an app."""

    models: tuple[ModelOf, ...] = ()

    def hooks(self) -> Iterator[tuple[ModelOf, Hook]]:
        """Every hook with its model."""
        for each in self.models:
            for hook in each.hooks:
                yield each, hook

    def hook(self, name: str) -> tuple[ModelOf, Hook] | None:
        """The hook of this name with its model."""
        return next((pair for pair in self.hooks() if pair[1].name == name), None)
