"""/api/apps/{app}/mail and …/templates: by which server an app mails, and in which words."""

import ipaddress
from typing import Annotated

import msgspec
from starlette.responses import Response

from admit.accounts import apps, mail_servers
from admit.accounts.app_settings import MailTemplates, check_settings
from admit.accounts.apps import App
from admit.accounts.mail_servers import parse_mail_server
from admit.errors import InvalidRequest, NotFound
from admit.gateway import Gateway
from admit.outbound.mail import MailFailed
from admit.outbound.message import sender_of
from admit.outbound.smtp import mail_server
from admit.signin import templates, trial_mails
from admit.signin.trial_mails import Sent
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app

SAMPLE_EMAIL = "ada@example.com"

Part = Annotated[str, msgspec.Meta(max_length=templates.TEMPLATE_CHARACTERS_MAX)]


class MailView(msgspec.Struct, frozen=True, kw_only=True):
    """How an app mails, without the password. `host` is None where the installation's server sends."""

    host: str | None
    port: int | None
    encryption: str
    user: str | None
    sender: str


class NewMailServer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An app's own mail server (smtp:// or smtps://, with its password), and the From of its mails."""

    url: Annotated[str, msgspec.Meta(max_length=mail_servers.URL_CHARACTERS_MAX)]
    sender: Annotated[str, msgspec.Meta(max_length=320)]


class TemplatesView(msgspec.Struct, frozen=True, kw_only=True):
    """The words in force. `own` names the parts that are the app's; the others are ours."""

    own: list[str]
    subject: str
    text: str
    html: str


class NewTemplates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Words to be. A part that is left out stays as it is; an empty one is ours again."""

    subject: Part | None = None
    text: Part | None = None
    html: Part | None = None


class TestMail(NewTemplates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To whom a test mail goes, and words to try in it; they are not kept."""

    __test__ = False  # it is no test, whatever its name

    to: Annotated[str, msgspec.Meta(max_length=320)]


async def show_mail(call: Call) -> Response:
    """By which server the app mails."""
    return call.answer(_mail_of(call.gateway, await permitted_app(call)))


async def set_mail(call: Call) -> Response:
    """Gives the app a mail server of its own."""
    app = await permitted_app(call)
    body = await call.json(NewMailServer)
    gateway, now = call.gateway, call.gateway.clock()
    _check_server(gateway, body)
    check_settings(msgspec.structs.replace(app.settings, mail_sender=body.sender))
    await gateway.db.write(
        lambda tx: mail_servers.set_mail_server(tx, gateway.ring, app.app_id, body.url, body.sender, now)
    )
    return call.answer(_mail_of(gateway, await gateway.directory.app(app.name)))


async def remove_mail(call: Call) -> Response:
    """Lets the installation's server send again."""
    app = await permitted_app(call)
    gateway, now = call.gateway, call.gateway.clock()
    if not await gateway.db.write(lambda tx: mail_servers.remove_mail_server(tx, app.app_id, now)):
        raise NotFound(f"{app.name} has no mail server of its own.")
    return call.answer(_mail_of(gateway, await gateway.directory.app(app.name)))


async def test_mail(call: Call) -> Response:
    """Sends a mail at once, as a code would be, and tells what is wrong if it fails."""
    app = await permitted_app(call)
    body = await call.json(TestMail)
    return call.answer(await call.gateway.test_mails.send(app, body.to, _merged(app, body)))


async def show_templates(call: Call) -> Response:
    """The words of the mail that carries a code."""
    return call.answer(_templates_of(await permitted_app(call)))


async def set_templates(call: Call) -> Response:
    """Changes some of the words, or all."""
    app = await permitted_app(call)
    wanted, now = _merged(app, await call.json(NewTemplates)), call.gateway.clock()
    await call.gateway.db.write(lambda tx: apps.edit_settings(tx, app.app_id, now, mail_templates=wanted))
    return call.answer(_templates_of(await call.gateway.directory.app(app.name)))


async def reset_templates(call: Call) -> Response:
    """Puts our own words in force again."""
    app, now = await permitted_app(call), call.gateway.clock()
    await call.gateway.db.write(lambda tx: apps.edit_settings(tx, app.app_id, now, mail_templates=None))
    return call.answer(_templates_of(await call.gateway.directory.app(app.name)))


async def preview_templates(call: Call) -> Response:
    """Shows what a mail would say, and keeps nothing."""
    app = await permitted_app(call)
    return call.answer(trial_mails.sample(app, SAMPLE_EMAIL, _merged(app, await call.json(NewTemplates))))


def _mail_of(gateway: Gateway, app: App) -> MailView:
    sender = app.settings.mail_sender or gateway.settings.mail_sender
    if not app.mail_server:
        return MailView(host=None, port=None, encryption="", user=None, sender=sender)
    server = mail_server(app.mail_server)
    encryption = "tls" if server.tls else f"starttls {server.starttls}"
    return MailView(
        host=server.host, port=server.port, encryption=encryption, user=server.user, sender=sender
    )


def _check_server(gateway: Gateway, body: NewMailServer) -> None:
    """Raises InvalidRequest for what could not work. A name's addresses are looked at when it is dialled."""
    server = parse_mail_server(body.url)
    if _is_address(server.host) and (
        refusal := gateway.egress.refusal(server.host, server.host, server.port)
    ):
        raise InvalidRequest(refusal)
    try:
        sender_of(body.sender)
    except MailFailed as error:
        raise InvalidRequest(
            f"{error} Write it like login@example.com or Name <login@example.com>."
        ) from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _merged(app: App, given: NewTemplates) -> MailTemplates:
    """The app's templates after `given`. Raises InvalidRequest for what cannot be used."""
    before = app.settings.mail_templates or MailTemplates(subject="", text="", html="")
    parts = {name: getattr(given, name) for name in MailTemplates.__struct_fields__}
    changes = {name: part for name, part in parts.items() if part is not None}
    return templates.check(msgspec.structs.replace(before, **changes))


def _templates_of(app: App) -> TemplatesView:
    own, words = app.settings.mail_templates, templates.in_force(app.settings.mail_templates)
    return TemplatesView(
        own=[name for name in ("subject", "text", "html") if own is not None and getattr(own, name)],
        subject=words.subject,
        text=words.text,
        html=words.html,
    )


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/mail",
        show_mail,
        "Shows by which server an app mails",
        "apps:read",
        answer=MailView,
    ),
    admin(
        "PUT",
        "/apps/{app}/mail",
        set_mail,
        "Gives an app a mail server of its own",
        "apps:write",
        body=NewMailServer,
        answer=MailView,
    ),
    admin(
        "DELETE",
        "/apps/{app}/mail",
        remove_mail,
        "Lets the installation's server send an app's mails again",
        "apps:write",
        answer=MailView,
    ),
    admin(
        "POST",
        "/apps/{app}/mail/test",
        test_mail,
        "Sends a test mail and tells what is wrong",
        "apps:write",
        body=TestMail,
        answer=Sent,
        codes=("rate_limited",),
    ),
    admin(
        "GET",
        "/apps/{app}/templates",
        show_templates,
        "Shows the words of the mail that carries a code",
        "apps:read",
        answer=TemplatesView,
    ),
    admin(
        "PUT",
        "/apps/{app}/templates",
        set_templates,
        "Changes the words of the mail that carries a code",
        "apps:write",
        body=NewTemplates,
        answer=TemplatesView,
    ),
    admin(
        "DELETE",
        "/apps/{app}/templates",
        reset_templates,
        "Puts our own words in force again",
        "apps:write",
        answer=TemplatesView,
    ),
    admin(
        "POST",
        "/apps/{app}/templates/preview",
        preview_templates,
        "Shows what a mail would say",
        "apps:read",
        body=NewTemplates,
        answer=templates.Rendered,
    ),
)
