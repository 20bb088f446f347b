"""What the admin API takes and gives about the data model of an app. Times are UTC milliseconds."""

from typing import Annotated, Literal

import msgspec

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
    type: Literal["ready", "update"]
    task: str
    task_declared: bool
    required: list[str]
    embedded: list[str]
    endpoints: list[str]


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """The data model of an app. `version` changes with it, "": there is none. `models`: the names."""

    version: str
    source: str
    models: list[str]
    hooks: list[HookView]
    changed_at: int | None
