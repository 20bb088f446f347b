"""Data models in TOML: what is read, and one sentence with its line for each thing that is wrong."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.data import model_file
from admit.data.model import Hook, HookField, Relation
from admit.data.model_file import ModelRefused

WHOLE = """
[models.asset]
table = "assets"

[models.asset.fields]
make = "text"
serial = { type = "text", label = "Serial number" }
extra = "json"
photo = "attachment"

[models.asset.belongs_to]
site = "site"
owner = { model = "site", key = "ownerId" }

[models.site]
fields = { name = "text" }
has_many = { assets = "asset" }

[[models.asset.webhooks]]
type = "ready"
name = "first"
fields = [
  { name = "make" },
  { name = "photo", required = false, state = "uploaded" },
  { name = "site", embed = false },
  "extra.colour",
  "session.device.platform",
]

[[models.asset.webhooks]]
type = "update"
receiver = "cloudcode"
action = "file_it"

[[models.user.webhooks]]
type = "ready"
name = "somebody.new"
receiver = "task"
action = "greet"
fields = ["email", "data.plan"]
"""


HEADER = len(WHOLE.split("\n")) + 1
"""The line at which another hook begins."""


def problems(source: str) -> list[tuple[int, str]]:
    with pytest.raises(ModelRefused) as refused:
        model_file.read(source)
    return [(each.line, each.message) for each in refused.value.problems]


def hook(lines: str, model: str = "asset") -> str:
    return WHOLE + f"\n[[models.{model}.webhooks]]\n{lines}"


def test_everything_that_can_be_said_is_read() -> None:
    model = model_file.read(WHOLE)

    asset, site, user = model.models
    assert (asset.table, site.table, user.table) == ("assets", "site", "")
    assert [(each.name, each.type) for each in asset.fields] == [
        ("make", "text"),
        ("serial", "text"),
        ("extra", "json"),
        ("photo", "attachment"),
    ]
    assert asset.belongs_to == (Relation("site", "site", "site_id"), Relation("owner", "site", "ownerId"))
    assert site.has_many == (Relation("assets", "asset"),)
    assert asset.hooks == (
        Hook(
            name="first",
            type="ready",
            fields=(
                HookField(path=("make",)),
                HookField(path=("photo",), required=False, state="uploaded"),
                HookField(path=("site",), embed=False),
                HookField(path=("extra", "colour")),
                HookField(path=("session", "device", "platform")),
            ),
        ),
        Hook(name="cloudcode_asset_update_file_it", type="update", task="file_it"),
    )
    assert [(each.name, each.task, each.required) for each in user.hooks] == [
        ("somebody.new", "greet", (("email",), ("data", "plan")))
    ]


def test_a_hook_without_a_name_has_the_usual_one() -> None:
    model = model_file.read("[[models.user.webhooks]]\ntype = 'update'\n")
    assert [each.name for _, each in model.hooks()] == ["user_update"]


def test_an_empty_model_has_no_hooks() -> None:
    assert list(model_file.read("").hooks()) == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("name = 'x'", (0, "A web hook needs a type: ready or update.")),
        ("type = 'redy'", (1, "type is ready or update, and not 'redy'. Is 'ready' meant?")),
        (
            "type = 'ready'\nreceiver = 'pdfmailer'",
            (2, 'There is no pdfmailer here. Have a task make the mail: receiver = "task".'),
        ),
        (
            "type = 'ready'\nreceiver = 'email'",
            (2, 'receiver is "task" (or "cloudcode"), or left out, and not \'email\'.'),
        ),
        (
            "type = 'update'\nreceiver = 'task'",
            (0, 'A web hook with a receiver needs an action: the name of the task, "welcome".'),
        ),
        (
            "type = 'update'\naction = 'welcome'",
            (2, 'action goes with receiver = "task": it is the task to start.'),
        ),
        (
            "type = 'update'\nreceiver = 'task'\naction = 'Wel come'",
            (3, "'Wel come' cannot be the name of a task."),
        ),
        ("type = 'ready'\nfields = ['mak']", (2, "asset has no field 'mak'. Is 'make' meant?")),
        (
            "type = 'ready'\nfields = ['sesion.id']",
            (2, "asset has no field 'sesion.id'. Is 'session.id' meant?"),
        ),
        ("type = 'ready'\nfields = ['make.x']", (2, "asset has no field 'make.x'. Is 'make' meant?")),
        (
            "type = 'ready'\nfields = ['site.name']",
            (2, "A web hook looks at 'site' as a whole: name it without .name"),
        ),
        (
            "type = 'ready'\nfields = [{ name = 'make', required = 'yes' }]",
            (2, "required is true or false, and not 'yes'."),
        ),
        (
            "type = 'ready'\nfields = [{ name = 'make', embed = 1 }]",
            (2, "embed is true or false, and not '1'."),
        ),
        (
            "type = 'ready'\nfields = [{ name = 'photo', state = 'there' }]",
            (2, "state is present or uploaded, and not 'there'."),
        ),
        (
            "type = 'ready'\nfields = [{ name = 'make', state = 'uploaded' }]",
            (2, 'state = "uploaded" is for fields of the type attachment.'),
        ),
        ("type = 'ready'\nfields = ['make', 'make']", (2, "The field 'make' stands twice.")),
        (
            "type = 'ready'\nfields = [{ required = true }]",
            (2, 'A field of a web hook has a name, such as { name = "title" }.'),
        ),
        ("type = 'ready'\nfields = 'make'", (2, 'fields is a list, such as [{ name = "title" }].')),
        ("type = 'ready'\nreciever = 'task'", (2, "'reciever' means nothing here. Is 'receiver' meant?")),
        ("type = 'ready'\nname = 'first'", (0, "Two web hooks are named 'first'.")),
        ("type = 'ready'\nname = 'a b'", (2, "name is 1 to 200 letters, digits and _.-")),
    ],
)
def test_what_is_wrong_with_a_hook_is_said_with_its_line(lines: str, said: tuple[int, str]) -> None:
    line, message = said
    assert problems(hook(lines)) == [(HEADER + line, message)]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a = ", (1, "It is not TOML: Invalid value.")),
        ("[model.asset]\n", (1, "'model' means nothing here. Is 'models' meant?")),
        ("[models]\nasset = 3\n", (2, "'asset' is a table, and not '3'.")),
        ("[models.a-b]\n", (1, "'a-b' cannot be the name of a model: letters, digits and _.")),
        (
            "[models.a]\ntable = '$b'\n",
            (2, "table is the name of a table, 1 to 100 characters, without $ first."),
        ),
        ("[models.a]\ntable='t'\n[models.b]\ntable='t'\n", (3, "a and b have the same table 't'.")),
        (
            "[models.a.fields]\nx = 'txt'\n",
            (
                2,
                "type is text, number, integer, boolean, date, datetime, json or "
                "attachment, and not 'txt'. Is 'text' meant?",
            ),
        ),
        (
            "[models.a.fields]\nx = {}\n",
            (2, "'x' needs a type: text, number, integer, boolean, date, datetime, json or attachment."),
        ),
        (
            "[models.a.fields]\ntype = 'text'\n",
            (2, "What is told of an object has 'type' by itself: name the field otherwise."),
        ),
        (
            "[models.a.fields]\nuser = 'text'\n",
            (
                2,
                "'user' is whoever has written the object, without being declared: name the field otherwise.",
            ),
        ),
        ("[models.a.belongs_to]\nb = 'c'\n", (2, "There is no model 'c'.")),
        (
            "[models.a.belongs_to]\nb = 'user'\n",
            (2, "Objects do not belong to a user: a web hook knows the user who wrote them."),
        ),
        (
            "[models.a]\n[models.a.fields]\nb_id = 'text'\n[models.a.belongs_to]\nb = 'a'\n",
            (1, "a has 'b_id' twice."),
        ),
        (
            "[models.user]\nfields = { a = 'text' }\n",
            (2, "The fields of user are given: it has webhooks only."),
        ),
        (
            "[[models.user.webhooks]]\ntype='ready'\nfields=['emial']\n",
            (3, "user has no field 'emial'. Is 'email' meant?"),
        ),
        (
            "[[models.device.webhooks]]\ntype='ready'\nfields=['user.device']\n",
            (3, "device has no field 'user.device'. Is 'user.id' meant?"),
        ),
        ("[models.a]\nwebhooks = 3\n", (2, "Write a web hook as [[models.a.webhooks]].")),
        (
            "[models.a]\nhas_many = { b = 'a' }\n[[models.a.webhooks]]\ntype='ready'\nfields=['b']\n",
            (5, "'b' is a has_many: web hooks look at fields and belongs_to."),
        ),
    ],
)
def test_what_is_wrong_with_a_model_is_said_with_its_line(source: str, said: tuple[int, str]) -> None:
    assert problems(source) == [said]


def test_all_that_is_wrong_is_said_in_the_order_of_the_lines() -> None:
    found = problems("[models.b.fields]\nx = 'a'\ny = 'b'\n[models.a.fields]\nz = 'c'\n")
    assert [line for line, _ in found] == [2, 3, 5]


def test_a_model_that_is_too_long_is_not_read() -> None:
    assert problems("#" * 200_001) == [(0, "A data model has at most 200,000 characters.")]


def test_deep_nesting_is_refused() -> None:
    assert problems("a = " + "[" * 100_000)


@given(st.text(alphabet="[]{}=.\"'models.user\nwebhooks type ready fields #,0", max_size=120))
def test_any_text_is_read_or_refused_with_a_sentence(source: str) -> None:
    with suppress(ModelRefused):
        model_file.read(source)
