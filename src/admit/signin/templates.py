"""The mail that carries a code: an app's own subject, text and HTML, or ours. Pure.

Templates are Jinja2 with variables, conditions and a few filters, and nothing else: no loops, attributes,
calls or arithmetic. So no template can take long, grow large or look around.
"""

import functools
import unicodedata
from typing import Literal, get_args

import msgspec
import structlog
from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from admit.accounts.app_settings import MailTemplates
from admit.errors import InvalidRequest

TEMPLATE_CHARACTERS_MAX = 50_000
TEMPLATE_NODES_MAX = 500  # compiling takes about 0.2 ms a variable, on the loop that serves everyone
SUBJECT_CHARACTERS_MAX = 200
RENDERED_BYTES_MAX = 60_000

log = structlog.get_logger("admit.signin")

Part = Literal["subject", "text", "html"]


_RENAMED = {"origin_name": "originName", "acting_for": "actingFor"}


class Variables(msgspec.Struct, frozen=True, kw_only=True, rename=_RENAMED):
    """What a template may name: `{{ otp }}`, `{{ originName }}` (the app), `{{ email }}`, `{{ minutes }}`.

    `{{ actingFor }}` is whom an owner signs in as. Only our own words for owners need it; else it is empty.
    """

    otp: str
    origin_name: str
    email: str
    minutes: int
    acting_for: str = ""


class TestData(msgspec.Struct, frozen=True, kw_only=True, rename=_RENAMED):
    """What a test mail is to say in the places of the variables. "" and 0 leave it to us."""

    __test__ = False  # it is no test, whatever its name

    otp: str = ""
    origin_name: str = ""
    email: str = ""
    minutes: int = 0


class Rendered(msgspec.Struct, frozen=True):
    """A mail's words."""

    subject: str
    text: str
    html: str


DEFAULT = MailTemplates(
    subject="{{ otp }} is your code for {{ originName }}",
    text="""\
Your code for {{ originName }} is

    {{ otp }}

Type it where you asked for it, within {{ minutes }} minutes. It works once.

If you did not ask for a code, ignore this mail: without the code nobody can sign in as {{ email }}.
Never give the code to anyone, whoever asks.
""",
    html="""\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Your code for {{ originName }}</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif;color:#1b1b1f;background:#ffffff">
<p>Your code for <strong>{{ originName }}</strong> is</p>
<p style="font:700 32px/1.2 ui-monospace,monospace;letter-spacing:2px;margin:16px 0">{{ otp }}</p>
<p>Type it where you asked for it, within {{ minutes }} minutes. It works once.</p>
<p style="color:#5c5c66">If you did not ask for a code, ignore this mail: without the code nobody can sign in
as {{ email }}. Never give the code to anyone, whoever asks.</p>
</body>
</html>
""",
)

ACTING = MailTemplates(
    subject="{{ otp }} signs you in to {{ originName }} as {{ actingFor }}",
    text="""\
Your code to sign in to {{ originName }} AS {{ actingFor }} is

    {{ otp }}

Whoever types it sees everything that {{ actingFor }} sees, for a day.
It works once, within {{ minutes }} minutes.

If you, {{ email }}, did not ask to sign in as somebody else, tell the code to nobody, whoever asks:
somebody is trying to read that person's data with your help.
""",
    html="""\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Signing in as somebody else</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif;color:#1b1b1f;background:#ffffff">
<p>Your code to sign in to <strong>{{ originName }}</strong> as <strong>{{ actingFor }}</strong> is</p>
<p style="font:700 32px/1.2 ui-monospace,monospace;letter-spacing:2px;margin:16px 0">{{ otp }}</p>
<p>Whoever types it sees everything that {{ actingFor }} sees, for a day. It works once, within {{ minutes }}
minutes.</p>
<p style="color:#5c5c66">If you, {{ email }}, did not ask to sign in as somebody else, tell the code to
nobody, whoever asks: somebody is trying to read that person's data with your help.</p>
</body>
</html>
""",
)
"""Words of the mail to an owner who wants to sign in as somebody else."""

CONNECTING = MailTemplates(
    subject="{{ otp }} lets a command manage {{ originName }}",
    text="""\
Your code to manage {{ originName }} with the dexie-cloud command is

    {{ otp }}

Whoever types it can read and change everything in {{ originName }}.
It works once, within {{ minutes }} minutes.

If you, {{ email }}, are not connecting that command at this moment, tell the code to nobody, whoever asks.
""",
    html="""\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Connecting a command</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif;color:#1b1b1f;background:#ffffff">
<p>Your code to manage <strong>{{ originName }}</strong> with the dexie-cloud command is</p>
<p style="font:700 32px/1.2 ui-monospace,monospace;letter-spacing:2px;margin:16px 0">{{ otp }}</p>
<p>Whoever types it can read and change everything in {{ originName }}. It works once, within {{ minutes }}
minutes.</p>
<p style="color:#5c5c66">If you, {{ email }}, are not connecting that command at this moment, tell the code to
nobody, whoever asks.</p>
</body>
</html>
""",
)
"""Words of the mail to who connects a command: an app's own words are for its people."""

_NAMES = frozenset(field.encode_name for field in msgspec.structs.fields(Variables))
_BREAKS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_FILTERS = frozenset({"upper", "lower", "title", "trim", "e", "escape", "urlencode"})
_NODES = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Filter,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
)
_plain = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
_markup = _plain.overlay(autoescape=True)


def check(given: MailTemplates) -> MailTemplates:
    """Returns `given` where it can be used. Raises InvalidRequest with a sentence for the operator."""
    for part in get_args(Part):
        if problem := problem_of(part, getattr(given, part)):
            raise InvalidRequest(problem)
    return given


def in_force(own: MailTemplates | None) -> MailTemplates:
    """What mails are made of: an app's own parts, and ours where it has none."""
    words = {part: (getattr(own, part) if own else "") or getattr(DEFAULT, part) for part in get_args(Part)}
    return MailTemplates(**words)


def problem_of(part: Part, source: str) -> str | None:
    """What is wrong with a template, in a sentence for the operator; None when it can be used.

    "" stands for ours.
    """
    compiled = _compile(part, source or getattr(DEFAULT, part))
    return compiled if isinstance(compiled, str) else None


def render(templates: MailTemplates | None, variables: Variables, *, app_id: str) -> Rendered:
    """The words of one mail. A template that cannot be used gives way to ours, with a line in the log."""
    words = {part: _render_part(part, templates, variables, app_id) for part in get_args(Part)}
    return Rendered(subject=one_line(words["subject"]), text=words["text"], html=words["html"])


def one_line(text: str) -> str:
    """`text` as a mail header can carry it: no line breaks or control characters, not too long."""
    printable = "".join(" " if unicodedata.category(each) in _BREAKS else each for each in text)
    return " ".join(printable.split())[:SUBJECT_CHARACTERS_MAX]


def _render_part(part: Part, templates: MailTemplates | None, variables: Variables, app_id: str) -> str:
    own: str = getattr(templates, part) if templates is not None else ""
    for source in filter(None, (own, getattr(DEFAULT, part))):
        words, problem = _fill(part, source, variables)
        if problem is None:
            return words
        log.warning("mail.template_unusable", app_id=app_id, part=part, problem=problem)
    raise AssertionError("our own template can be used")


def _fill(part: Part, source: str, variables: Variables) -> tuple[str, str | None]:
    """The words that come of a template, and what is wrong with them."""
    compiled = _compile(part, source)
    if isinstance(compiled, str):
        return "", compiled
    try:
        words = compiled.render(msgspec.to_builtins(variables))
        size = len(words.encode())
    except Exception as error:  # whatever an operator has written there, the person waits for the mail
        return "", f"The {part} template fails with {type(error).__name__}."
    if size > RENDERED_BYTES_MAX:
        return "", f"The {part} template makes a mail of more than {RENDERED_BYTES_MAX} bytes."
    if part != "subject" and variables.otp not in words:
        return "", f"The {part} template left out the code."
    return words, None


@functools.lru_cache(maxsize=256)
def _compile(part: Part, source: str) -> Template | str:
    """The template, or what is wrong with it."""
    environment = _markup if part == "html" else _plain
    if len(source) > TEMPLATE_CHARACTERS_MAX:
        return f"The {part} template is longer than {TEMPLATE_CHARACTERS_MAX} characters."
    try:
        tree = _walk(environment.parse(source))
        if len(tree) > TEMPLATE_NODES_MAX:
            return f"The {part} template has more than {TEMPLATE_NODES_MAX} variables, conditions and pieces."
        problem = next(filter(None, map(_problem_with, tree)), None)
        if problem is not None:
            return f"The {part} template {problem}"
        if part != "subject" and not any(
            isinstance(node, nodes.Name) and node.name == "otp" for node in tree
        ):
            return f"The {part} template does not contain {{{{ otp }}}}: nobody could sign in by it."
        return environment.from_string(source)
    except TemplateError as error:
        return f"The {part} template cannot be read: {error.message}"
    except (RecursionError, SyntaxError):
        return f"The {part} template is nested too deeply."


def _problem_with(node: nodes.Node) -> str | None:
    match node:
        case nodes.Name(name=name) if name not in _NAMES:
            return f"names {name!r}. There are {', '.join(sorted(_NAMES))}."
        case nodes.Filter(name=name, args=args, kwargs=kwargs) if name not in _FILTERS or args or kwargs:
            return f"uses the filter {name!r}. There are {', '.join(sorted(_FILTERS))}, without arguments."
        case _ if not isinstance(node, _NODES):
            return f"uses {type(node).__name__}. Only variables, conditions and filters may be used."
    return None


def _walk(node: nodes.Node) -> list[nodes.Node]:
    return [node, *(each for child in node.iter_child_nodes() for each in _walk(child))]
