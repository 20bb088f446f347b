"""admit mail: by which server an app mails, and in which words."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from admit.cli.command import AppName, Refusal, Terminal, Yes, command, group
from admit.cli.connection import target

if TYPE_CHECKING:
    from admit.cli.output import Facts
    from admit.web.admin_mail_api import MailView, NewTemplates

mails = group(
    "mail",
    "Mail: the server and the words by which an app mails its codes.",
    example="admit mail test notes --to ada@example.com",
)

PARTS = ("subject", "text", "html")

Subject = Annotated[str | None, typer.Option(metavar="TEXT", help="The subject.", show_default=False)]
TextFile = Annotated[
    Path | None,
    typer.Option("--text", metavar="FILE", help="A file with the plain text.", show_default=False),
]
HtmlFile = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="A file with the HTML.", show_default=False)
]


@command(mails, "show", example="admit mail show notes")
def show(terminal: Terminal, app: AppName) -> None:
    """Shows by which server an app mails, without its password."""
    from admit.web.admin_mail_api import MailView

    answer = terminal.call("GET", target("apps", app, "mail"), None, MailView)
    terminal.out.one(answer, _facts(answer))


@command(
    mails,
    "server",
    example='admit mail server notes --sender "Notes <login@example.com>" < mail-server-url.txt',
)
def server(
    terminal: Terminal,
    app: AppName,
    sender: Annotated[str, typer.Option(metavar="SENDER", help="The From of its mails.", show_default=False)],
    server_url: Annotated[
        str,
        typer.Option(
            "--server",
            metavar="URL",
            help="smtp://user:password@host:587. Without it, it is read from the standard input, so that "
            "nobody else on this machine sees the password.",
        ),
    ] = "-",
) -> None:
    """Gives an app a mail server of its own. `admit mail test` tells whether it works."""
    from admit.web.admin_mail_api import MailView, NewMailServer

    given = sys.stdin.readline().strip() if server_url == "-" else server_url
    if not given:
        raise Refusal("Which mail server? Write its URL to the standard input, or give --server.", 2)
    body = NewMailServer(url=given, sender=sender)
    answer = terminal.call("PUT", target("apps", app, "mail"), body, MailView)
    terminal.out.one(answer, _facts(answer))
    terminal.out.note(f"Next: admit mail test {app} --to YOUR_ADDRESS")


@command(mails, "server-reset", example="admit mail server-reset notes")
def server_reset(terminal: Terminal, app: AppName, yes: Yes = False) -> None:
    """Lets the installation's own server send the mails of an app again."""
    from admit.web.admin_mail_api import MailView

    terminal.confirm(f"The mail server of {app} is forgotten, with its password.", yes=yes)
    answer = terminal.call("DELETE", target("apps", app, "mail"), None, MailView)
    terminal.out.one(answer, _facts(answer))


@command(mails, "test", example="admit mail test notes --to ada@example.com")
def try_mail(
    terminal: Terminal,
    app: AppName,
    to: Annotated[str, typer.Option(metavar="EMAIL", help="Who gets it.", show_default=False)],
    subject: Subject = None,
    text: TextFile = None,
    html: HtmlFile = None,
) -> None:
    """Sends a mail as it would carry a code, at once, and says what is wrong if it fails.

    With --subject, --text or --html it has those words, which are not kept.
    """
    from admit.signin.trial_mails import Sent
    from admit.web.admin_mail_api import TestMail

    body = TestMail(to=to, subject=subject, text=_read(text), html=_read(html))
    answer = terminal.call("POST", target("apps", app, "mail", "test"), body, Sent)
    if not answer.sent:
        raise Refusal(answer.problem)
    terminal.out.done(answer, f"The mail server has taken a mail to {to}.")


@command(mails, "template", example="admit mail template notes")
def template(terminal: Terminal, app: AppName) -> None:
    """Shows the words of the mail that carries a code, and which of them are the app's own."""
    from admit.web.admin_mail_api import TemplatesView

    answer = terminal.call("GET", target("apps", app, "templates"), None, TemplatesView)
    facts = [("own", ", ".join(answer.own) or "nothing")]
    terminal.out.one(answer, [*facts, *((part, getattr(answer, part)) for part in PARTS)])


@command(
    mails,
    "template-set",
    example='admit mail template-set notes --subject "{{ otp }} opens {{ originName }}" --text code.txt',
)
def template_set(
    terminal: Terminal, app: AppName, subject: Subject = None, text: TextFile = None, html: HtmlFile = None
) -> None:
    """Changes some of the words, and leaves the others. `admit mail preview` shows them before."""
    from admit.web.admin_mail_api import TemplatesView

    body = _given(subject, text, html)
    answer = terminal.call("PUT", target("apps", app, "templates"), body, TemplatesView)
    terminal.out.done(answer, f"Mails of {app} have words of its own: {', '.join(answer.own) or 'none'}.")


@command(mails, "template-reset", example="admit mail template-reset notes")
def template_reset(terminal: Terminal, app: AppName, yes: Yes = False) -> None:
    """Puts the words that Admit comes with in force again."""
    from admit.web.admin_mail_api import TemplatesView

    terminal.confirm(f"The words of {app} are forgotten.", yes=yes)
    answer = terminal.call("DELETE", target("apps", app, "templates"), None, TemplatesView)
    terminal.out.done(answer, f"Mails of {app} have the words that Admit comes with.")


@command(mails, "preview", example="admit mail preview notes --text code.txt")
def preview(
    terminal: Terminal, app: AppName, subject: Subject = None, text: TextFile = None, html: HtmlFile = None
) -> None:
    """Shows what a mail would say, with other words or with those in force. Changes nothing."""
    from admit.signin.templates import Rendered

    body = _given(subject, text, html)
    answer = terminal.call("POST", target("apps", app, "templates", "preview"), body, Rendered)
    terminal.out.one(answer, [(part, getattr(answer, part)) for part in PARTS])


def _given(subject: str | None, text: Path | None, html: Path | None) -> "NewTemplates":
    from admit.web.admin_mail_api import NewTemplates

    return NewTemplates(subject=subject, text=_read(text), html=_read(html))


def _read(path: Path | None) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(
            f"{path} cannot be read as text: {getattr(error, 'strerror', 'not UTF-8')}.", 2
        ) from None


def _facts(answer: "MailView") -> "Facts":
    if answer.host is None:
        return [("server", "the installation's"), ("sender", answer.sender)]
    return [
        ("server", f"{answer.host}:{answer.port}"),
        ("encryption", answer.encryption),
        ("user", answer.user or "none"),
        ("sender", answer.sender),
    ]
