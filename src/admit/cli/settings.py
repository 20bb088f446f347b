"""admit setting: what an app may choose besides its policy."""

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from msgspec import UNSET, UnsetType

from admit.cli.command import AppName, Refusal, Terminal, command, group
from admit.cli.connection import target

if TYPE_CHECKING:
    from admit.accounts.app_settings import AppSettings
    from admit.cli.output import Facts

settings = group(
    "setting",
    "Settings of an app: what it may choose besides its policy.",
    example="admit setting set notes --eval-days 14",
)

NONE = "none"

T = TypeVar("T")


@command(settings, "show", example="admit setting show notes")
def show(terminal: Terminal, app: AppName) -> None:
    """Shows the settings of an app."""
    from admit.web.admin_types import AppView

    answer = terminal.call("GET", target("apps", app), None, AppView)
    terminal.out.one(answer.settings, _facts(answer.settings))


@command(settings, "set", example="admit setting set notes --eval-days 14 --refuse-hopeless")
def set_settings(
    terminal: Terminal,
    app: AppName,
    eval_days: Annotated[
        int | None,
        typer.Option(metavar="N", help="How many active days a newcomer on trial has.", show_default=False),
    ] = None,
    refuse_hopeless: Annotated[
        bool | None,
        typer.Option(
            "--refuse-hopeless/--mail-everybody",
            help="Mail no code to whom the policy would refuse anyway, which tells strangers who is known; "
            "or mail one to everybody who asks.",
            show_default=False,
        ),
    ] = None,
    mail_sender: Annotated[
        str | None,
        typer.Option(
            metavar="SENDER",
            help='The From of its mails, such as "Notes <login@example.com>", or none for the server\'s.',
            show_default=False,
        ),
    ] = None,
) -> None:
    """Changes settings of an app. What is not named stays as it is.

    The words of its mails are set with `admit mail`, what people are told at sign-in with `admit notice`.
    """
    from admit.web.admin_settings_api import SettingsChange
    from admit.web.admin_types import AppView

    change = SettingsChange(
        eval_days=_given(eval_days),
        refuse_hopeless_at_step_1=_given(refuse_hopeless),
        mail_sender="" if mail_sender == NONE else _given(mail_sender),
    )
    if change == SettingsChange():
        raise Refusal(f"Which setting? E.g. admit setting set {app} --eval-days 14", 2)
    answer = terminal.call("POST", target("apps", app, "settings"), change, AppView)
    terminal.out.one(answer.settings, _facts(answer.settings))


def _given(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


def _facts(settings: "AppSettings") -> "Facts":
    templates = settings.mail_templates
    return [
        ("eval days", str(settings.eval_days)),
        ("codes go to", "whom the policy may let in" if settings.refuse_hopeless_at_step_1 else "everybody"),
        ("mail sender", settings.mail_sender or "the server's"),
        ("mail templates", f"its own: {templates.subject}" if templates else "the server's"),
        ("license warning", f"{settings.warn_days} days before" if settings.warn_days else "none"),
    ]
