"""admit session: enrollments of people on devices."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from admit import clock
from admit.cli.command import AppName, Terminal, Yes, command, duration_option, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import to_the_second

if TYPE_CHECKING:
    from admit.web.sessions_types import SessionView, UserWithSessions

sessions = group(
    "session",
    "Sessions: the enrollments of people on their devices.",
    example="admit session list notes --user ada@example.com",
)

PAGE_SIZE = 500
PEOPLE_PAGE_SIZE = 100

REASONS = {
    "locked": "an operator has locked it",
    "user_locked": "its user is locked",
    "device_limit": "a newer device has its place",
    "reauthenticate": "its person is to sign in again",
    "wiped": "an operator has wiped it",
    "logged_out": "its device has logged out",
    "replaced": "its device was enrolled anew",
    "expired": "it was not refreshed in time",
    "inactive": "its device was not heard of for too long",
}

State = Literal["ENROLLED", "LOCKED", "RESET"]
SessionId = Annotated[str, typer.Argument(metavar="SESSION_ID", help="The session's id.", show_default=False)]


@command(sessions, "list", example="admit session list notes --user ada@example.com --active")
def list_sessions(
    terminal: Terminal,
    app: AppName,
    user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Only of this person, a userId or a uid.", show_default=False),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="DEVICE_ID", help="Only on devices of this id.", show_default=False),
    ] = None,
    state: Annotated[
        State | None,
        typer.Option(case_sensitive=False, help="Only in this state.", show_default=False),
    ] = None,
    active: Annotated[
        bool, typer.Option("--active", help="Only those that go on, of people who may sign in.")
    ] = False,
    since: Annotated[float | None, duration_option("Only those opened since then, such as 2h or 7d.")] = None,
    signed_in_since: Annotated[
        float | None, duration_option("Only those whose last sign-in was since then.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many.", show_default=False)
    ] = None,
) -> None:
    """Lists sessions as they are read: of one person or on one device the newest first, else by person.

    A session is one enrollment of a person on a device. NO. counts those of a person on a device. LAST SEEN
    is when the device was last heard of.
    """
    filters = {
        "state": state,
        "active": "true" if active else None,
        "created_since": _ago(since),
        "authenticated_since": _ago(signed_in_since),
    }
    found = _sessions(terminal, app, user, device, filters)
    terminal.out.many(
        itertools.islice(found, limit),
        [
            Column["SessionView"]("SESSION ID", lambda session: session.id),
            Column("USER ID", lambda session: session.user.user_id),
            Column("STATE", _state),
            Column("NO.", lambda session: str(session.ordinal)),
            Column("OPENED", lambda session: to_the_second(session.created_at)),
            Column("LAST SEEN", lambda session: to_the_second(session.last_connected_at)),
            Column("LABEL", lambda session: session.label or ""),
            Column("DEVICE ID", lambda session: session.device.id),
        ],
        none=_nothing(app, user, device, filtered=any(filters.values())),
    )


@command(sessions, "show", example="admit session show notes ses_7k3m")
def show(terminal: Terminal, app: AppName, session_id: SessionId) -> None:
    """Shows a session: whose it is, on what device, and why it has ended if it has."""
    session = _find(terminal, app, session_id)
    terminal.out.one(
        session,
        [
            ("session id", session.id),
            ("user id", session.user.user_id),
            ("uid", session.user.id),
            ("state", session.state + (f": {REASONS[session.reason]}" if session.reason else "")),
            ("number", f"{session.ordinal} of this person on this device"),
            ("opened", to_the_second(session.created_at)),
            ("last sign-in", to_the_second(session.last_authenticated_at)),
            ("last seen", to_the_second(session.last_connected_at)),
            ("signed out", to_the_second(session.signed_out_at)),
            ("can be refreshed until", to_the_second(session.expires_at)),
            *([("owner acting", session.actor)] if session.actor else []),
            *([("erased", _erased(session))] if session.state == "RESET" else []),
            ("device id", session.device.id + (" (of its key)" if session.device.derived else "")),
            ("label", session.label or ""),
            ("platform", session.container.platform or ""),
            ("model", session.device.model or ""),
            ("app", " ".join(filter(None, (session.container.bundle_id, session.container.version)))),
            ("runtime", session.runtime.version or ""),
            ("device first seen", to_the_second(session.device.first_seen_at)),
        ],
    )


@command(sessions, "lock", example="admit session lock notes ses_7k3m")
def lock(terminal: Terminal, app: AppName, session_id: SessionId) -> None:
    """Locks a session: its device is refused until the session is unlocked. What it holds stays there.

    A device that is connected is told at once. The person may go on elsewhere, and enroll here anew.
    """
    session = _change(terminal, app, session_id, "lock")
    terminal.out.done(session, f"{session.id} of {session.user.user_id} is locked.")
    terminal.out.note(f"Back: admit session unlock {app} {session.id}")


@command(sessions, "unlock", example="admit session unlock notes ses_7k3m")
def unlock(terminal: Terminal, app: AppName, session_id: SessionId) -> None:
    """Lets a locked session go on, also one that was locked for the limit of devices."""
    session = _change(terminal, app, session_id, "unlock")
    terminal.out.done(session, f"{session.id} of {session.user.user_id} goes on.")


@command(sessions, "reauthenticate", example="admit session reauthenticate notes ses_7k3m")
def reauthenticate(terminal: Terminal, app: AppName, session_id: SessionId) -> None:
    """Locks a session until its person has signed in on the device again."""
    session = _change(terminal, app, session_id, "re-authenticate")
    terminal.out.done(session, f"{session.user.user_id} is to sign in again before {session.id} goes on.")


@command(sessions, "wipe", example="admit session wipe notes ses_7k3m")
def wipe(terminal: Terminal, app: AppName, session_id: SessionId, yes: Yes = False) -> None:
    """Ends a session for good and tells its device to erase what it holds.

    The device does so, and says so, once it is heard of. Its person may enroll there anew: to keep them out,
    lock the user first.
    """
    session = _find(terminal, app, session_id)
    terminal.confirm(
        f"The device {session.label or session.device.id} of {session.user.user_id} is to erase what it "
        f"holds of {app}, and {session.id} ends for good.",
        yes=yes,
    )
    session = _changed(terminal, app, session, "wipe")
    terminal.out.done(session, f"{session.id} of {session.user.user_id} is wiped.")
    terminal.out.note(f"Whether its device has erased what it held: admit session show {app} {session.id}")


def _sessions(
    terminal: Terminal, app: str, user: str | None, device: str | None, filters: dict[str, str | None]
) -> Iterator["SessionView"]:
    if user is not None:
        yield from _pages(terminal, (app, "users", user, "sessions"), filters | {"device": device})
    elif device is not None:
        yield from _pages(terminal, (app, "sessions"), filters | {"device": device})
    else:
        for person in _people(terminal, app):
            if person.sessions_more or (person.sessions and any(filters.values())):
                yield from _pages(terminal, (app, "users", person.id, "sessions"), filters)
            else:
                yield from person.sessions


def _pages(
    terminal: Terminal, path: tuple[str, ...], query: dict[str, str | None]
) -> Iterator["SessionView"]:
    from admit.web.sessions_types import Sessions

    after: str | None = None
    while True:
        where = target("v4", *path, **query, limit=PAGE_SIZE, after=after)
        page = terminal.call("GET", where, None, Sessions)
        yield from page.objects
        if (after := page.next) is None:
            return


def _people(terminal: Terminal, app: str) -> Iterator["UserWithSessions"]:
    from admit.web.sessions_types import Users

    after: str | None = None
    while True:
        where = target("v4", app, "users", limit=PEOPLE_PAGE_SIZE, after=after)
        page = terminal.call("GET", where, None, Users)
        yield from page.objects
        if (after := page.next) is None:
            return


def _find(terminal: Terminal, app: str, session_id: str) -> "SessionView":
    from admit.web.sessions_types import SessionView

    return terminal.call("GET", target("v4", app, "sessions", session_id), None, SessionView)


def _change(terminal: Terminal, app: str, session_id: str, verb: str) -> "SessionView":
    return _changed(terminal, app, _find(terminal, app, session_id), verb)


def _changed(terminal: Terminal, app: str, session: "SessionView", verb: str) -> "SessionView":
    from admit.web.sessions_types import SessionView

    where = target("v4", app, "users", session.user.id, "sessions", session.id, verb)
    return terminal.call("POST", where, None, SessionView)


def _state(session: "SessionView") -> str:
    return f"{session.state} ({session.reason})" if session.reason else session.state


def _erased(session: "SessionView") -> str:
    return to_the_second(session.wipe_confirmed_at or None) or "its device has not said so yet"


def _ago(seconds: float | None) -> str | None:
    return None if seconds is None else clock.iso_date(max(0, clock.now() - round(seconds * 1_000)))


def _nothing(app: str, user: str | None, device: str | None, *, filtered: bool) -> str:
    """What there is to say, and to do, where no session is found."""
    if filtered:
        return "No such session. Without --state, --active and the times there may be others."
    if device is not None:
        whose = f" of {user}" if user is not None else ""
        return f"No session on a device {device}{whose}. `admit device list {app} USER` shows the ids."
    if user is not None:
        return f"{user} has not enrolled yet. `admit enrollment create {app} {user}` makes a link to do so."
    return f"Nobody has enrolled yet. `admit enrollment create {app} USER` makes a link to do so."
