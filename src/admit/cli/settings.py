"""admit setting: what an app may choose besides its policy."""

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

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
WhenFull = Literal["refuse", "lock"]
OnOff = Literal["on", "off"]


T = TypeVar("T")

EvalDays = Annotated[
    int | None,
    typer.Option(metavar="N", help="How many active days a newcomer on trial has.", show_default=False),
]
RefuseHopeless = Annotated[
    bool | None,
    typer.Option(
        "--refuse-hopeless/--mail-everybody",
        help="Mail no code to whom the policy would refuse anyway, which tells strangers who is known; "
        "or mail one to everybody who asks.",
        show_default=False,
    ),
]
MailSender = Annotated[
    str | None,
    typer.Option(
        metavar="SENDER",
        help='The From of its mails, such as "Notes <login@example.com>", or none for the server\'s.',
        show_default=False,
    ),
]
DevicesMax = Annotated[
    str | None,
    typer.Option(
        metavar="N|none",
        help="How many devices of a person may be enrolled at once.",
        show_default=False,
    ),
]
WhenDevicesFull = Annotated[
    WhenFull | None,
    typer.Option(
        metavar="refuse|lock",
        help="What becomes of one device more: it is refused, or the one not heard of for longest is "
        "locked in its favour.",
        show_default=False,
    ),
]
CountDerived = Annotated[
    bool | None,
    typer.Option(
        "--count-derived/--ignore-derived",
        help="Whether devices without an identifier of their own, which are new at every sign-in of a "
        "browser, count as devices.",
        show_default=False,
    ),
]
IdleDays = Annotated[
    str | None,
    typer.Option(
        metavar="N|none",
        help="End sessions of which nothing was heard for so many days.",
        show_default=False,
    ),
]
EnrollmentLink = Annotated[
    str | None,
    typer.Option(
        metavar="URL|none",
        help="Where enrollment tokens are redeemed, such as "
        "https://app.example.com/#enrollment_token={token}.",
        show_default=False,
    ),
]
MailedCodes = Annotated[
    OnOff | None,
    typer.Option(
        metavar="on|off",
        help="Whether people may sign in by a code that is mailed to them. Owners can always connect.",
        show_default=False,
    ),
]
AnyNetwork = Annotated[
    OnOff | None,
    typer.Option(
        "--sso-any-network",
        metavar="on|off",
        help="Whether who comes back from a provider may go on in another network, such as from a phone that "
        "changes from Wi-Fi to mobile. Off protects people from being signed in as somebody else.",
        show_default=False,
    ),
]


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
    eval_days: EvalDays = None,
    refuse_hopeless: RefuseHopeless = None,
    mail_sender: MailSender = None,
    devices_max: DevicesMax = None,
    when_devices_full: WhenDevicesFull = None,
    count_derived: CountDerived = None,
    idle_days: IdleDays = None,
    enrollment_link: EnrollmentLink = None,
    mailed_codes: MailedCodes = None,
    sso_any_network: AnyNetwork = None,
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
        devices_max=_number("--devices-max", devices_max),
        when_devices_full=_given(when_devices_full),
        count_derived_devices=_given(count_derived),
        session_idle_days=_number("--idle-days", idle_days),
        enrollment_link="" if enrollment_link == NONE else _given(enrollment_link),
        mailed_codes=_is_on(mailed_codes),
        sso_any_network=_is_on(sso_any_network),
    )
    if change == SettingsChange():
        raise Refusal(f"Which setting? E.g. admit setting set {app} --eval-days 14", 2)
    answer = terminal.call("POST", target("apps", app, "settings"), change, AppView)
    terminal.out.one(answer.settings, _facts(answer.settings))
    if mailed_codes == "off" and not answer.providers:
        terminal.out.note(
            f"{app} has no provider either, so that nobody can sign in now: admit provider add {app} TYPE"
        )


def _given(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


def _is_on(value: OnOff | None) -> bool | UnsetType:
    return UNSET if value is None else value == "on"


def _number(option: str, value: str | None) -> int | UnsetType:
    """The number that was given; 0 for none, which is how settings say that there is no limit."""
    if value is None:
        return UNSET
    if value == NONE:
        return 0
    if not (value.isascii() and value.isdigit() and int(value)):
        raise Refusal(f"{option} is a number from 1, or none.", 2)
    return int(value)


def _facts(settings: "AppSettings") -> "Facts":
    templates = settings.mail_templates
    return [
        ("eval days", str(settings.eval_days)),
        ("mailed codes", "on" if settings.mailed_codes else "off"),
        ("codes go to", "whom the policy may let in" if settings.refuse_hopeless_at_step_1 else "everybody"),
        ("mail sender", settings.mail_sender or "the server's"),
        ("mail templates", f"its own: {templates.subject}" if templates else "the server's"),
        ("license warning", f"{settings.warn_days} days before" if settings.warn_days else "none"),
        ("devices a person", _devices(settings)),
        (
            "sessions end",
            f"after {settings.session_idle_days} idle days"
            if settings.session_idle_days
            else "never for being idle",
        ),
        ("enrollment link", settings.enrollment_link or "the first origin of the app"),
        (
            "back from a provider",
            "in any network" if settings.sso_any_network else "in the same network only",
        ),
    ]


def _devices(settings: "AppSettings") -> str:
    if not settings.devices_max:
        return "no limit"
    more = "one more is refused" if settings.when_devices_full == "refuse" else "one more locks the idlest"
    derived = "" if settings.count_derived_devices else "; derived ones do not count"
    return f"{settings.devices_max}: {more}{derived}"
