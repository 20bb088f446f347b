"""Reading a data model from TOML. Pure: a text in, a Model out, or a sentence for each thing that is wrong.

The words are those of JourneyApps' data model: models, fields, belongs_to, has_many, webhooks.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

import msgspec

from admit.data import people_paths
from admit.data.model import (
    PEOPLE,
    Field,
    FieldType,
    Hook,
    HookField,
    HookType,
    Model,
    ModelOf,
    Path,
    Relation,
    State,
)
from admit.data.model_lines import Lines, Place

SOURCE_CHARACTERS_MAX = 200_000
MODELS_MAX = 500
HOOKS_MAX = 200
HOOKS_OF_TABLE_MAX = 8
"""A unit writes up to 500 objects, and notes each `ready` of each."""
FIELDS_MAX = 500
HOOK_FIELDS_MAX = 100
SHOWN_CHARACTERS = 60

RESERVED = ("id", "type", "updated_at")
"""Members of what is told that are ours."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_HOOK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_TABLE = re.compile(r"[^\x00-\x1f$][^\x00-\x1f]{0,99}")
_TASK = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SYNTAX = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)
_TASK_RECEIVERS = ("task", "cloudcode")
_NO_PDFS = "pdfmailer"


class Problem(msgspec.Struct, frozen=True):
    """What is wrong, in a sentence. `line` 0: it is not known where."""

    line: int
    message: str


class ModelRefused(Exception):
    """A text is no data model. `problems` says why, in the order of the lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda each: each.line))
        super().__init__(self.problems[0].message)


def read(source: str) -> Model:
    """The model that `source` describes. Raises ModelRefused."""
    if len(source) > SOURCE_CHARACTERS_MAX:
        raise ModelRefused([Problem(0, f"A data model has at most {SOURCE_CHARACTERS_MAX:,} characters.")])
    try:
        tree = tomllib.loads(source)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ModelRefused([_syntax(str(error), source.count("\n") + 1)]) from None
    reader = _Reader(Lines(source))
    model = reader.model(tree)
    if reader.problems:
        raise ModelRefused(reader.problems)
    return model


def _syntax(message: str, last: int) -> Problem:
    """What tomllib complains of. `last`: the number of the last line."""
    found = _SYNTAX.fullmatch(message)
    if found is None:
        return Problem(0, f"It is not TOML: {message}.")
    return Problem(int(found[2] or last), f"It is not TOML: {found[1]}.")


class _Reader:
    """Reads one tree, and takes down what is wrong with it."""

    def __init__(self, lines: Lines) -> None:
        self.problems: list[Problem] = []
        self._lines = lines
        self._names: tuple[str, ...] = ()

    def model(self, tree: Mapping[str, Any]) -> Model:
        self._only(tree, ("models",), ())
        named = self._table(tree.get("models", {}), ("models",))
        if len(named) > MODELS_MAX:
            self._wrong(("models",), f"There are at most {MODELS_MAX} models.")
        self._names = (*named, *PEOPLE)
        model = Model(tuple(self._model_of(name, value, ("models", name)) for name, value in named.items()))
        self._check_twice(model)
        return model

    def _model_of(self, name: str, value: Any, at: Place) -> ModelOf:
        if not _NAME.fullmatch(name):
            self._wrong(at, f"{_shown(name)} cannot be the name of a model: letters, digits and _.")
        given = self._table(value, at)
        if name in PEOPLE:
            self._only(given, ("webhooks",), at, f"The fields of {name} are given: it has webhooks only")
            bare = ModelOf(name=name, table="")
        else:
            self._only(given, ("table", "fields", "belongs_to", "has_many", "webhooks"), at)
            bare = self._bare(name, given, at)
        return msgspec.structs.replace(bare, hooks=tuple(self._hooks(bare, given.get("webhooks", []), at)))

    def _bare(self, name: str, given: Mapping[str, Any], at: Place) -> ModelOf:
        """The model without its hooks."""
        table = given.get("table", name)
        if not isinstance(table, str) or not _TABLE.fullmatch(table):
            self._wrong((*at, "table"), "table is the name of a table, 1 to 100 characters, without $ first.")
            table = name
        bare = ModelOf(
            name=name,
            table=table,
            fields=tuple(self._fields(given.get("fields", {}), (*at, "fields"))),
            belongs_to=tuple(self._relations(given.get("belongs_to", {}), (*at, "belongs_to"))),
            has_many=tuple(self._many(given.get("has_many", {}), (*at, "has_many"))),
        )
        members = [
            *(each.name for each in bare.fields),
            *(word for each in bare.belongs_to for word in (each.name, each.member)),
            *(each.name for each in bare.has_many),
        ]
        for twice in sorted({each for each in members if members.count(each) > 1}):
            self._wrong(at, f"{name} has {_shown(twice)} twice.")
        return bare

    def _fields(self, value: Any, at: Place) -> Iterator[Field]:
        given = self._table(value, at)
        if len(given) > FIELDS_MAX:
            self._wrong(at, f"A model has at most {FIELDS_MAX} fields.")
        for name, described in given.items():
            here = (*at, name)
            self._check_member(name, here)
            parts = {"type": described} if isinstance(described, str) else self._table(described, here)
            self._only(parts, ("type", "label"), here)
            if "type" not in parts:
                self._wrong(here, f"{_shown(name)} needs a type: {_listed(get_args(FieldType))}.")
                continue
            if (word := self._word(parts, "type", FieldType, here)) is not None:
                yield Field(name, word)

    def _relations(self, value: Any, at: Place) -> Iterator[Relation]:
        for name, described in self._table(value, at).items():
            here = (*at, name)
            self._check_member(name, here)
            parts = {"model": described} if isinstance(described, str) else self._table(described, here)
            self._only(parts, ("model", "key"), here)
            member = parts.get("key", f"{name}_id")
            if not isinstance(member, str) or not _NAME.fullmatch(member):
                self._wrong(here, "key is the member that holds the key of the other object.")
                member = f"{name}_id"
            if self._check_model(parts.get("model"), here):
                yield Relation(name, parts["model"], member)

    def _many(self, value: Any, at: Place) -> Iterator[Relation]:
        for name, described in self._table(value, at).items():
            here = (*at, name)
            self._check_member(name, here)
            parts = {"model": described} if isinstance(described, str) else self._table(described, here)
            self._only(parts, ("model",), here)
            if self._check_model(parts.get("model"), here):
                yield Relation(name, parts["model"])

    def _hooks(self, of: ModelOf, value: Any, at: Place) -> Iterator[Hook]:
        at = (*at, "webhooks")
        if not isinstance(value, list):
            self._wrong(at, f"Write a web hook as [[models.{of.name}.webhooks]].")
            return
        if len(value) > HOOKS_OF_TABLE_MAX:
            self._wrong(at, f"A model has at most {HOOKS_OF_TABLE_MAX} web hooks.")
        for number, each in enumerate(value):
            hook = self._hook(of, self._table(each, (*at, number)), (*at, number))
            if hook is not None:
                yield hook

    def _hook(self, of: ModelOf, given: Mapping[str, Any], at: Place) -> Hook | None:
        self._only(given, ("type", "name", "receiver", "action", "fields"), at)
        if "type" not in given:
            self._wrong(at, "A web hook needs a type: ready or update.")
        type_ = self._word(given, "type", HookType, at) if "type" in given else None
        receiver = self._receiver(given, at)
        task = self._action(given, receiver, at)
        fields = tuple(self._hook_fields(of, given.get("fields", []), (*at, "fields")))
        if type_ is None or receiver is None or task is None:
            return None
        usual = f"{of.name}_{type_}" if not receiver else f"{receiver}_{of.name}_{type_}_{task}"
        name = given.get("name", usual)
        if not isinstance(name, str) or not _HOOK_NAME.fullmatch(name):
            self._wrong((*at, "name"), "name is 1 to 200 letters, digits and _.-")
            return None
        return Hook(name=name, type=type_, task=task, fields=fields)

    def _receiver(self, given: Mapping[str, Any], at: Place) -> str | None:
        """ "": an endpoint; None: it is wrong."""
        receiver = given.get("receiver", "")
        if receiver == "" or receiver in _TASK_RECEIVERS:
            return str(receiver)
        if receiver == _NO_PDFS:
            sentence = 'There is no pdfmailer here. Have a task make the mail: receiver = "task".'
        else:
            sentence = f'receiver is "task" (or "cloudcode"), or left out, and not {_shown(receiver)}.'
        self._wrong((*at, "receiver"), sentence)
        return None

    def _action(self, given: Mapping[str, Any], receiver: str | None, at: Place) -> str | None:
        """The name of the task; "": there is none; None: it is wrong."""
        action = given.get("action")
        if receiver is None:
            return None
        if not receiver:
            if action is None:
                return ""
            self._wrong((*at, "action"), 'action goes with receiver = "task": it is the task to start.')
            return None
        if action is None:
            self._wrong(at, 'A web hook with a receiver needs an action: the name of the task, "welcome".')
            return None
        if not isinstance(action, str) or not _TASK.fullmatch(action):
            self._wrong((*at, "action"), f"{_shown(action)} cannot be the name of a task.")
            return None
        return action

    def _hook_fields(self, of: ModelOf, value: Any, at: Place) -> Iterator[HookField]:
        if not isinstance(value, list):
            self._wrong(at, 'fields is a list, such as [{ name = "title" }].')
            return
        if len(value) > HOOK_FIELDS_MAX:
            self._wrong(at, f"A web hook has at most {HOOK_FIELDS_MAX} fields.")
        seen: set[Path] = set()
        for number, each in enumerate(value):
            here = (*at, number)
            given = {"name": each} if isinstance(each, str) else self._table(each, here)
            self._only(given, ("name", "required", "embed", "state"), here)
            path = self._path(of, given.get("name"), here)
            required, embed = (self._boolean(given, name, here) for name in ("required", "embed"))
            state: State | None = self._word(given, "state", State, here) if "state" in given else "present"
            if path is None or state is None:
                continue
            if path in seen:
                self._wrong(here, f"The field {_shown('.'.join(path))} stands twice.")
            if state == "uploaded" and _type_of(of, path) != "attachment":
                self._wrong(here, 'state = "uploaded" is for fields of the type attachment.')
            seen.add(path)
            yield HookField(path=path, required=required, embed=embed, state=state)

    def _path(self, of: ModelOf, name: Any, at: Place) -> Path | None:
        """The path that a field of a hook names, where it leads somewhere."""
        if not isinstance(name, str) or not name:
            self._wrong(at, 'A field of a web hook has a name, such as { name = "title" }.')
            return None
        path = tuple(name.split("."))
        if of.of_people:
            if people_paths.is_known((of.name, *path)):
                return path
            known = people_paths.all_paths(of.name)
        else:
            if _leads(of, path):
                return path
            if path[0] in (each.name for each in of.has_many):
                self._wrong(at, f"{_shown(name)} is a has_many: web hooks look at fields and belongs_to.")
                return None
            if path[0] in (each.name for each in of.belongs_to):
                self._wrong(at, f"A web hook looks at {path[0]!r} as a whole: name it without .{path[1]}")
                return None
            known = [field.name for field in of.fields] + [each.name for each in of.belongs_to]
            known += [*PEOPLE, *(f"{who}.{each}" for who in PEOPLE for each in people_paths.all_paths(who))]
        self._wrong(at, f"{of.name} has no field {_shown(name)}.{_nearest(name, known)}")
        return None

    def _check_member(self, name: str, at: Place) -> None:
        if not _NAME.fullmatch(name):
            self._wrong(at, f"{_shown(name)} cannot be the name of a field: letters, digits and _.")
        elif name in RESERVED:
            self._wrong(at, f"What is told of an object has {name!r} by itself: name the field otherwise.")
        elif name in PEOPLE:
            self._wrong(
                at,
                f"{name!r} is whoever has written the object, without being declared: name the field "
                "otherwise.",
            )

    def _check_model(self, name: Any, at: Place) -> bool:
        if isinstance(name, str) and name in self._names and name not in PEOPLE:
            return True
        known = [each for each in self._names if each not in PEOPLE]
        if isinstance(name, str) and name in PEOPLE:
            self._wrong(at, f"Objects do not belong to a {name}: a web hook knows the {name} who wrote them.")
        else:
            self._wrong(at, f"There is no model {_shown(name)}.{_nearest(str(name), known)}")
        return False

    def _check_twice(self, model: Model) -> None:
        names: set[str] = set()
        tables: dict[str, str] = {}
        for each in model.models:
            at = ("models", each.name)
            if each.table and (other := tables.setdefault(each.table, each.name)) != each.name:
                self._wrong(at, f"{other} and {each.name} have the same table {_shown(each.table)}.")
            for number, hook in enumerate(each.hooks):
                if hook.name in names:
                    self._wrong((*at, "webhooks", number), f"Two web hooks are named {_shown(hook.name)}.")
                names.add(hook.name)
        if len(names) > HOOKS_MAX:
            self._wrong(("models",), f"There are at most {HOOKS_MAX} web hooks.")

    def _table(self, value: Any, at: Place) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self._wrong(at, f"{_shown(at[-1])} is a table, and not {_shown(value)}.")
        return {}

    def _boolean(self, given: Mapping[str, Any], name: str, at: Place) -> bool:
        value = given.get(name, True)
        if isinstance(value, bool):
            return value
        self._wrong(at, f"{name} is true or false, and not {_shown(value)}.")
        return True

    def _word(self, given: Mapping[str, Any], name: str, of: Any, at: Place) -> Any:
        value = given[name]
        words = get_args(of)
        if value in words:
            return value
        self._wrong(
            (*at, name), f"{name} is {_listed(words)}, and not {_shown(value)}.{_nearest(str(value), words)}"
        )
        return None

    def _only(self, given: Mapping[str, Any], known: tuple[str, ...], at: Place, otherwise: str = "") -> None:
        for name in given:
            if name not in known:
                what = otherwise or f"{_shown(name)} means nothing here"
                self._wrong((*at, name), f"{what}.{_nearest(name, known)}")

    def _wrong(self, at: Place, sentence: str) -> None:
        self.problems.append(Problem(self._lines.of(at), sentence))


def _leads(of: ModelOf, path: Path) -> bool:
    """Whether `path` leads somewhere in an object of a table."""
    if path[0] in PEOPLE:
        return people_paths.is_known(path)
    if len(path) == 1 and path[0] in (each.name for each in of.belongs_to):
        return True
    type_ = _type_of(of, path[:1])
    return type_ is not None and (len(path) == 1 or (type_ == "json" and all(path)))


def _type_of(of: ModelOf, path: Path) -> str | None:
    return next((field.type for field in of.fields if (field.name,) == path), None)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return repr(text[:SHOWN_CHARACTERS])


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" Is {near[0]!r} meant?" if near else ""
