"""/apps/APP/sign-in/mail: by which server an app mails its codes, and a test of it."""

from urllib.parse import quote, urlencode

import msgspec
from starlette.responses import Response

from admit.errors import AdmitError, Conflict, InvalidRequest, RateLimited
from admit.signin.trial_mails import Sent
from admit.web.admin_mail_api import MailView, NewMailServer, TestMail
from admit.web.admin_settings_api import SettingsChange
from admit.web.admin_types import AppView
from admit.web.manager import seen
from admit.web.manager.forms import Form
from admit.web.manager.pages import Page, page
from admit.web.manager.ways_in import tabs

TAB = "Mail"
ENCRYPTIONS = (
    ("required", "STARTTLS, required"),
    ("tls", "TLS from the first byte"),
    ("offered", "STARTTLS where it is offered"),
    ("off", "None"),
)
"""How the way to the server is encrypted: the field, and what is read."""


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of the form, but for the password, which is never shown again."""

    host: str = ""
    port: str = ""
    encryption: str = "required"
    user: str = ""
    sender: str = ""


async def show(page: Page) -> Response:
    """The server in force."""
    return await _page(page)


async def save(page: Page) -> Response:
    """Sets the server of the app, or only its sender where nothing else is different."""
    before, typed = await page.get("/apps/{app}/mail", MailView), _typed(page.form)
    try:
        seen.refuse_stale(page.form, _shown(before))
        if _only_sender(before, typed) and not page.form.verbatim("password"):
            change = SettingsChange(mail_sender=typed.sender)
            await page.send("POST", "/apps/{app}/settings", AppView, change)
        else:
            server = NewMailServer(url=_url(typed, page.form.verbatim("password")), sender=typed.sender)
            await page.send("PUT", "/apps/{app}/mail", MailView, server)
    except (InvalidRequest, Conflict) as error:
        return await _page(page, typed=typed, refused=error)
    return page.done(page.here("sign-in", "mail"), "The mail server is saved. Send a test mail to try it.")


async def go_back(page: Page) -> Response:
    """Lets the installation's server send again."""
    await page.send("DELETE", "/apps/{app}/mail", MailView)
    return page.done(page.here("sign-in", "mail"), "The mail server of this installation sends again.")


async def test(page: Page) -> Response:
    """Sends a test mail and says on the page what came of it."""
    to = page.form.text("to")
    sent = await tried(page, TestMail(to=to))
    if page.wants_fragment:
        return page.render_block("mail.html", "result", sent=sent, to=to)
    return await _page(page, to=to, sent=sent)


async def tried(page: Page, mail: TestMail) -> Sent:
    """What came of a test mail; a refusal to send it at all is told in the same way."""
    try:
        return await page.send("POST", "/apps/{app}/mail/test", Sent, mail)
    except (InvalidRequest, RateLimited) as error:
        return Sent(sent=False, problem=error.message)


async def _page(
    page: Page,
    *,
    typed: Typed | None = None,
    refused: AdmitError | None = None,
    to: str | None = None,
    sent: Sent | None = None,
) -> Response:
    mail = await page.get("/apps/{app}/mail", MailView)
    return page.render(
        "mail.html",
        status=page.status_of(refused),
        tabs=tabs(page),
        tab=TAB,
        mail=mail,
        seen=seen.mark(_shown(mail)),
        typed=typed or _shown(mail),
        encryptions=ENCRYPTIONS,
        problem="" if refused is None else refused.message,
        to=page.signed_in.operator.email if to is None else to,
        sent=sent,
    )


def _shown(mail: MailView) -> Typed:
    """The server in force, as the form has it; without one of the app's, only the usual choices."""
    if mail.host is None:
        return Typed(sender=mail.sender)
    return Typed(
        host=mail.host,
        port=str(mail.port),
        encryption=mail.encryption.removeprefix("starttls "),
        user=mail.user or "",
        sender=mail.sender,
    )


def _typed(form: Form) -> Typed:
    return Typed(**{name: form.text(name) for name in Typed.__struct_fields__})


def _only_sender(mail: MailView, typed: Typed) -> bool:
    """Whether the server stays as it is: the app's own, or that of the installation."""
    shown = _shown(mail)
    if mail.host is None:
        return not (typed.host or typed.user)
    return msgspec.structs.replace(typed, sender=shown.sender) == shown


def _url(typed: Typed, password: str) -> str:
    """The server as the API takes it. Raises InvalidRequest for what a URL would hide."""
    if typed.encryption not in dict(ENCRYPTIONS):
        raise InvalidRequest("Choose how the way to the mail server is encrypted.")
    if not typed.host or set(typed.host) & set("/?#@ "):
        raise InvalidRequest("The host is the name of a mail server, such as mail.example.com.")
    if typed.port and not (typed.port.isascii() and typed.port.isdigit()):
        raise InvalidRequest("The port is a number, such as 587.")
    if typed.user and not password:
        raise InvalidRequest("Type the password again: it is kept, and shown to nobody.")
    if password and not typed.user:
        raise InvalidRequest("There is a password and no user. Type whose password it is.")
    login = f"{quote(typed.user, safe='')}:{quote(password, safe='')}@" if typed.user else ""
    host = f"[{typed.host}]" if ":" in typed.host and not typed.host.startswith("[") else typed.host
    port = f":{typed.port}" if typed.port else ""
    if typed.encryption == "tls":
        return f"smtps://{login}{host}{port}"
    return f"smtp://{login}{host}{port}?{urlencode({'starttls': typed.encryption})}"


PAGES = (
    page("GET", "/apps/{app}/sign-in/mail", show, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/mail", save, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/mail/back", go_back, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/mail/test", test, nav="sign-in"),
)
