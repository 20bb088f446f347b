"""admit notice: what everybody has to read when they sign in."""

from typing import Annotated

import typer

from admit.cli.command import AppName, Terminal, Yes, command, duration_option, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import moment

notices = group(
    "notice",
    "Notices: what people have to read when they sign in.",
    example='admit notice add notes "Closed for repairs on Sunday." --lasting 3d',
)


@command(
    notices, "add", example='admit notice add notes "Closed for repairs on Sunday." --warning --lasting 3d'
)
def add(
    terminal: Terminal,
    app: AppName,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="One sentence.", show_default=False)],
    warning: Annotated[bool, typer.Option("--warning", help="Show it as a warning.")] = False,
    lasting: Annotated[
        float | None, duration_option("How long it is shown, e.g. 3d. Without it, until it is removed.")
    ] = None,
) -> None:
    """Shows a notice to everybody who signs in. Their login waits until they have acknowledged it."""
    from admit import clock
    from admit.web.admin_notices_api import NewNotice, NoticesView

    until = None if lasting is None else clock.now() + round(lasting * 1_000)
    body = NewNotice(message=message, type="warning" if warning else "info", until=until)
    answer = terminal.call("POST", target("apps", app, "notices"), body, NoticesView)
    terminal.out.done(
        answer, f"Whoever signs in to {app} reads it. Its id is {answer.notices[-1].notice_id}."
    )


@command(notices, "list", example="admit notice list notes")
def list_notices(terminal: Terminal, app: AppName) -> None:
    """Lists the notices of an app."""
    from admit.accounts.apps import Notice
    from admit.web.admin_notices_api import NoticesView

    answer = terminal.call("GET", target("apps", app, "notices"), None, NoticesView)
    terminal.out.many(
        answer.notices,
        [
            Column[Notice]("NOTICE ID", lambda notice: notice.notice_id),
            Column("TYPE", lambda notice: notice.type),
            Column("UNTIL", lambda notice: moment(notice.until)),
            Column("MESSAGE", lambda notice: notice.message),
        ],
        none=f"There is no notice in {app}. `admit notice add {app} MESSAGE` shows one.",
    )


@command(notices, "remove", example="admit notice remove notes ntc_7k3m")
def remove(
    terminal: Terminal,
    app: AppName,
    notice_id: Annotated[str, typer.Argument(metavar="NOTICE_ID", help="Its id.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Takes a notice back."""
    from admit.web.admin_notices_api import NoticesView

    terminal.confirm(f"Nobody reads the notice {notice_id} any more.", yes=yes)
    answer = terminal.call("DELETE", target("apps", app, "notices", notice_id), None, NoticesView)
    terminal.out.done(answer, f"{notice_id} is removed.")


@command(notices, "before-end", example="admit notice before-end notes 7")
def before_end(
    terminal: Terminal,
    app: AppName,
    days: Annotated[
        int, typer.Argument(metavar="DAYS", min=0, help="0: nobody is told.", show_default=False)
    ],
) -> None:
    """Tells people at sign-in that their license ends within so many days."""
    from admit.web.admin_notices_api import LicenseWarning, NoticesView

    body = LicenseWarning(days=days)
    answer = terminal.call("PUT", target("apps", app, "license-warning"), body, NoticesView)
    said = f"are told {days} days before" if days else "are not told"
    terminal.out.done(answer, f"People of {app} {said} the end of their license.")
