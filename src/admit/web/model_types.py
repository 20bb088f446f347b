"""What the admin API takes and gives about the data model of an app. Times are UTC milliseconds."""

from typing import Annotated

import msgspec

from admit.data.model import FieldType, HookType
from admit.data.model_file import SOURCE_CHARACTERS_MAX


class NewModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A data model, in TOML. An empty one has no models, and no web hooks."""

    source: Annotated[str, msgspec.Meta(max_length=SOURCE_CHARACTERS_MAX)]


class HookView(msgspec.Struct, frozen=True, kw_only=True):
    """A web hook. `task`: the one that it starts, "": none; `task_declared`: whether the code has it.

    `endpoints`: the ids of those that are told.
    """

    name: str
    model: str
    type: HookType
    task: str
    task_declared: bool
    required: list[str]
    embedded: list[str]
    endpoints: list[str]


class RelationView(msgspec.Struct, frozen=True, kw_only=True):
    """A relation to objects of `model`. `member`: what holds their key; "": they hold the key of this."""

    name: str
    model: str
    member: str


class ModelOfView(msgspec.Struct, frozen=True, kw_only=True):
    """What the objects of `table` look like; "": it is about who lives here, and its fields are given."""

    name: str
    table: str
    fields: dict[str, FieldType]
    belongs_to: list[RelationView]
    has_many: list[RelationView]


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """The data model of an app. `version` changes with it, "": there is none. `models`: the names."""

    version: str
    source: str
    models: list[str]
    described: list[ModelOfView]
    hooks: list[HookView]
    changed_at: int | None


class ModelProblem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, in a sentence. `line` 0: it is not known where."""

    line: int
    message: str


class CheckedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a data model would be, and all that is wrong with it: then it has no models and no hooks.

    `lost`: the hooks of the present model that it does not have. Their endpoints would be silent.
    """

    problems: list[ModelProblem]
    models: list[str]
    hooks: list[HookView]
    lost: list[HookView]
