"""/templates: the words of mails, as files that the published `dexie-cloud` command pulls and pushes.

The paths are those below the folder `dexie-cloud` of a project, as version 3.0.7 has them (docs/compat.md).
"""

import msgspec
from starlette.responses import Response

from admit.accounts import apps
from admit.accounts.app_settings import MailTemplates
from admit.accounts.apps import App
from admit.errors import InvalidRequest
from admit.signin import templates, trial_mails
from admit.signin.handlebars import to_jinja
from admit.signin.templates import Part, TestData
from admit.web.managing_api import managed
from admit.web.not_built_api import no_invites
from admit.web.operations import Call, Operation

FOLDER = "email-templates/"
FILES: dict[str, Part] = {
    f"{FOLDER}otp-subject.handlebars": "subject",
    f"{FOLDER}otp-body-txt.handlebars": "text",
    f"{FOLDER}otp-body-html.handlebars": "html",
}
TEST_DATA = f"{FOLDER}otp-testdata.json"
"""What a test mail says; the command sends it along and it is kept in the project."""

_OURS = MailTemplates(subject="", text="", html="")


class TemplateFile(msgspec.Struct, frozen=True):
    """One file, by its path below the folder `dexie-cloud`."""

    path: str
    content: str


class Pushed(msgspec.Struct, frozen=True, rename="camel"):
    """How many of the app's templates are different now."""

    ok: bool
    num_updated_templates: int


class Reset(msgspec.Struct, frozen=True, rename="camel"):
    """How many of the app's own templates gave way to ours."""

    ok: bool
    num_reset_templates: int


class TestSend(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Templates to try, with what they are to say. Without `to` they go to the owner of the client."""

    __test__ = False  # it is no test, whatever its name

    subject_str: str
    body_txt_str: str
    body_html_str: str
    vars: TestData = TestData()
    to: str | None = None


class TestSent(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Whether a mail server has taken the mail over, and if not, why."""

    __test__ = False  # it is no test, whatever its name

    ok: bool
    email_receiver: str
    message: str = ""


async def pull_templates(call: Call) -> Response:
    """The templates in force, as files."""
    app, _ = await managed(call)
    words = templates.in_force(app.settings.mail_templates)
    files = [TemplateFile(path, getattr(words, part)) for path, part in FILES.items()]
    sample = TestData(otp=trial_mails.SAMPLE_CODE, origin_name=app.name, minutes=trial_mails.SAMPLE_MINUTES)
    told = msgspec.json.format(msgspec.json.encode(sample)).decode() + "\n"
    return call.answer([*files, TemplateFile(TEST_DATA, told)])


async def push_templates(call: Call) -> Response:
    """Puts the files in force: all of them or none. What says the same as ours stays ours."""
    app, _ = await managed(call)
    before = app.settings.mail_templates or _OURS
    files = await call.json(list[TemplateFile])
    wanted = _chosen(before, files)
    changed = sum(getattr(wanted, part) != getattr(before, part) for part in FILES.values())
    await _put(call, app, None if wanted == _OURS else wanted)
    return call.answer(Pushed(True, changed))


async def reset_own_templates(call: Call) -> Response:
    """Puts our own words in force again."""
    app, _ = await managed(call)
    before = app.settings.mail_templates or _OURS
    await _put(call, app, None)
    return call.answer(Reset(True, sum(bool(getattr(before, part)) for part in FILES.values())))


async def send_test_templates(call: Call) -> Response:
    """Sends a mail in the words that came along, which are not kept."""
    app, manager = await managed(call)
    body = await call.json(TestSend)
    to = body.to or manager.owner
    if not to:
        raise InvalidRequest("This client has no owner. Say where to send the mail: --to EMAIL")
    words = MailTemplates(subject=body.subject_str, text=body.body_txt_str, html=body.body_html_str)
    chosen = templates.check(_in_our_spelling(words))
    sent = await call.gateway.test_mails.send(app, to, chosen, body.vars)
    return call.answer(TestSent(ok=sent.sent, email_receiver=to, message=sent.problem))


def _chosen(before: MailTemplates, files: list[TemplateFile]) -> MailTemplates:
    """The templates after `files`. Raises InvalidRequest, and NotBuilt for what is about invites."""
    parts: dict[str, str] = {}
    for file in files:
        if file.path in FILES:
            parts[FILES[file.path]] = file.content
        elif file.path.startswith(f"{FOLDER}invite-"):
            raise no_invites()
        elif file.path != TEST_DATA:
            raise InvalidRequest(f"{file.path[:100]!r} is no template. There are {', '.join(sorted(FILES))}.")
    ours = templates.in_force(None)
    wanted = _in_our_spelling(msgspec.structs.replace(before, **parts))
    own = {part: "" for part in FILES.values() if getattr(wanted, part) == getattr(ours, part)}
    return templates.check(msgspec.structs.replace(wanted, **own))


def _in_our_spelling(words: MailTemplates) -> MailTemplates:
    return MailTemplates(
        subject=to_jinja(words.subject).strip(), text=to_jinja(words.text), html=to_jinja(words.html)
    )


async def _put(call: Call, app: App, chosen: MailTemplates | None) -> None:
    now = call.gateway.clock()
    await call.gateway.db.write(lambda tx: apps.edit_settings(tx, app.app_id, now, mail_templates=chosen))


_MANAGE = ("MANAGE_DB",)
OPERATIONS = (
    Operation(
        method="GET",
        path="/{app}/templates/pull",
        handler=pull_templates,
        summary="The words of mails, as files",
        access="person",
        scopes=_MANAGE,
        answer=list[TemplateFile],
    ),
    Operation(
        method="POST",
        path="/{app}/templates/push",
        handler=push_templates,
        summary="Changes the words of mails, by files",
        access="person",
        scopes=_MANAGE,
        body=list[TemplateFile],
        answer=Pushed,
        codes=("invites_not_built",),
    ),
    Operation(
        method="POST",
        path="/{app}/templates/reset",
        handler=reset_own_templates,
        summary="Puts our own words in force again",
        access="person",
        scopes=_MANAGE,
        answer=Reset,
    ),
    Operation(
        method="POST",
        path="/{app}/templates/test-send",
        handler=send_test_templates,
        summary="Sends a mail in words that are not kept",
        access="person",
        scopes=_MANAGE,
        body=TestSend,
        answer=TestSent,
        codes=("rate_limited",),
    ),
)
