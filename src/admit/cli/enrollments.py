"""admit enrollment: links and QR codes that enroll a device."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from admit.cli.command import AppName, Terminal, Yes, command, duration_option, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.users import UserId
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.web.enrollment_tokens_api import EnrollmentTokenView

enrollments = group(
    "enrollment",
    "Enrollment tokens: links and QR codes that enroll a device as a person.",
    example="admit enrollment create notes ada@example.com",
)

PAGE_SIZE = 1_000


@command(enrollments, "create", example="admit enrollment create notes ada@example.com --expires 1h --uses 2")
def create(
    terminal: Terminal,
    app: AppName,
    user_id: UserId,
    expires: Annotated[
        float | None,
        duration_option("When it ends, from now, 1m to 30d. Without it, after 15 minutes."),
    ] = None,
    uses: Annotated[int, typer.Option(metavar="N", min=1, help="How many devices may enroll by it.")] = 1,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="For the device that sends this id only. Without it, for any.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Makes a token by which a device enrolls as a person, and shows its link and QR code, this once.

    Whoever has the link is let in as that person: give it to nobody else. Where links lead is set with
    `admit setting set --enrollment-link`.
    """
    from admit.accounts.enrollment_tokens import SECONDS_DEFAULT
    from admit.web import qr
    from admit.web.enrollment_tokens_api import IssuedEnrollmentToken, NewEnrollmentToken

    body = NewEnrollmentToken(
        expires_in_seconds=SECONDS_DEFAULT if expires is None else math.ceil(expires),
        uses_max=uses,
        device=device,
    )
    where = target("apps", app, "users", user_id, "enrollment-tokens")
    issued = terminal.call("POST", where, body, IssuedEnrollmentToken)
    terminal.out.one(
        issued,
        [
            ("link", issued.url),
            ("good until", moment(issued.expires_at)),
            ("good for", _good_for(issued.uses_max, issued.device)),
            ("token id", issued.token_id),
        ],
    )
    terminal.out.picture(qr.text_of(issued.url))
    terminal.out.note("Keep the link now: it cannot be shown again, and lets in whoever has it.")


@command(enrollments, "list", example="admit enrollment list notes ada@example.com")
def list_enrollments(terminal: Terminal, app: AppName, user_id: UserId) -> None:
    """Lists the enrollment tokens of a person, newest first, without the tokens themselves."""
    terminal.out.many(
        _pages(terminal, app, user_id),
        [
            Column["EnrollmentTokenView"]("TOKEN ID", lambda token: token.token_id),
            Column("STATE", lambda token: token.state),
            Column("USES", lambda token: f"{token.uses} of {token.uses_max}"),
            Column("DEVICE", lambda token: token.device or "any"),
            Column("CREATED", lambda token: moment(token.created_at)),
            Column("GOOD UNTIL", lambda token: moment(token.expires_at)),
            Column("REVOKED", lambda token: moment(token.revoked_at)),
        ],
        none="There is no enrollment token. `admit enrollment create` makes one.",
    )


@command(enrollments, "revoke", example="admit enrollment revoke notes ada@example.com ent_7k3m")
def revoke(
    terminal: Terminal,
    app: AppName,
    user_id: UserId,
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="The token's id.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Ends an enrollment token at once. Devices that have enrolled by it stay enrolled."""
    terminal.confirm(f"Nobody can enroll by the link of {token_id} any more.", yes=yes)
    where = target("apps", app, "users", user_id, "enrollment-tokens", token_id)
    terminal.call("DELETE", where, None, type(None))
    terminal.out.done({"token_id": token_id, "revoked": True}, f"{token_id} is revoked.")


def _pages(terminal: Terminal, app: str, user_id: str) -> Iterator["EnrollmentTokenView"]:
    from admit.web.enrollment_tokens_api import EnrollmentTokenPage

    before: str | None = None
    while True:
        where = target(
            "apps", app, "users", user_id, "enrollment-tokens", limit=str(PAGE_SIZE), before=before
        )
        page = terminal.call("GET", where, None, EnrollmentTokenPage)
        yield from page.tokens
        if (before := page.before) is None:
            return


def _good_for(uses_max: int, device: str | None) -> str:
    times = "one device" if uses_max == 1 else f"{uses_max} devices"
    return times if device is None else f"the device {device}"
