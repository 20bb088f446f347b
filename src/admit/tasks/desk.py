"""The desk: answers what runs ask, of the people of their app and of the world outside, and hears what they
say."""

from collections.abc import Callable
from functools import partial
from typing import Any, assert_never

import msgspec

from admit.accounts import device_pages, session_pages, user_pages, users
from admit.accounts.apps import App
from admit.accounts.sessions import State
from admit.accounts.users import User, UserType
from admit.clock import Clock
from admit.errors import AdmitError, InvalidRequest, NotFound, Unavailable
from admit.jobs.lines import NewLine
from admit.outbound.http import Failure, HttpClient
from admit.signin.proof import user_id_as_known
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from admit.task import wire
from admit.task.payloads import Run
from admit.tasks import object_rows
from admit.tasks.people_rows import device_row, listed_row, user_row

ROWS_MAX = 1_000
REPLY_BYTES_MAX = 5_000_000
LINES_MAX = 1_010
"""Some more than the kit lets through with its own remarks: what is beyond was not said by the kit."""
LINES_CHARACTERS_MAX = 1_100_000

_TYPES: dict[str, UserType] = {"eval": "eval", "prod": "prod", "demo": "demo"}
_STATES: dict[str, State] = {"ENROLLED": "ENROLLED", "LOCKED": "LOCKED", "RESET": "RESET"}


def nobody_listens() -> None:
    """For those who read the lines at the end."""


class Desk:
    """What the runs of all apps ask. `http` goes by the egress policy."""

    def __init__(self, db: Database, http: HttpClient, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._http = http

    async def answer(self, app: App, question: wire.Question, seconds_max: float) -> Any:
        """The answer, as `wire` has it. Raises AdmitError for what cannot be had."""
        match question:
            case wire.FindUser(user_id):
                user = await self._user(app, user_id)
                return None if user is None else user_row(user)
            case wire.PageOfUsers():
                return await self._db.read(partial(_users, app=app, asked=question))
            case wire.DevicesOf(user_id):
                user = await self._known(app, user_id)
                return await self._db.read(partial(_devices, user=user))
            case wire.SessionsOf(user_id, state):
                user = await self._known(app, user_id)
                return await self._db.read(partial(_sessions, user=user, state=state))
            case wire.FindSession(session_id):
                return await self._db.read(partial(_session, app_id=app.app_id, session_id=session_id))
            case wire.FindObject():
                return await self._db.read(partial(object_rows.find, app=app, asked=question))
            case wire.PlaceObject():
                place = partial(object_rows.place, app=app, asked=question, now=self._clock())
                return await self._db.read(place)
            case wire.PageOfObjects():
                return await object_rows.page(self._db, app, question)
            case wire.Fetch():
                return await self._fetch(question, seconds_max)
            case _:
                assert_never(question)

    async def _user(self, app: App, user_id: str) -> User | None:
        return await self._db.read_together(users.find_each, (app.app_id, user_id_as_known(app, user_id)))

    async def _known(self, app: App, user_id: str) -> User:
        user = await self._user(app, user_id)
        if user is None:
            raise NotFound(f"There is no user {user_id!r}.", code="user_not_found")
        return user

    async def _fetch(self, asked: wire.Fetch, seconds_max: float) -> wire.Fetched:
        try:
            reply = await self._http.request(
                asked.method,
                asked.url,
                asked.body,
                asked.headers,
                timeout_seconds=min(asked.timeout_seconds, seconds_max),
                reply_bytes_max=REPLY_BYTES_MAX,
            )
        except (ValueError, TypeError) as error:
            raise InvalidRequest(f"The request cannot be sent: {error}.") from error
        if isinstance(reply, Failure):
            raise Unavailable(reply.detail)
        return wire.Fetched(
            status=reply.status, headers=reply.headers, body=reply.body, truncated=reply.truncated
        )


class Visit:
    """One run at the desk: the `Visitor` of a workshop. `lines` are what it has said so far.

    In a test run nothing goes out: `blocked` tells what would have.
    """

    def __init__(
        self,
        desk: Desk,
        app: App,
        run: Run,
        seconds_max: float,
        heard: Callable[[], None] = nobody_listens,
    ) -> None:
        self._desk = desk
        self._app = app
        self._run = run
        self._seconds_max = seconds_max
        self._heard = heard
        self._characters = 0
        self.lines: list[NewLine] = []
        self.blocked: list[str] = []

    async def answer(self, question: wire.Question) -> Any:
        """What the run asked for. Raises AdmitError, whose message is for the task."""
        if self._run.test and isinstance(question, wire.Fetch):
            what = f"{question.method} {question.url}"
            self.blocked.append(what)
            raise AdmitError(f"A test run sends nothing: {what} was not sent.")
        return await self._desk.answer(self._app, question, self._seconds_max)

    def said(self, line: wire.Said) -> None:
        """Keeps a line. One that no kit would let through is dropped."""
        fields = msgspec.json.encode(line.fields).decode() if line.fields else ""
        self._characters += len(line.text) + len(fields)
        if len(self.lines) >= LINES_MAX or self._characters > LINES_CHARACTERS_MAX:
            return
        self.lines.append(NewLine(len(self.lines) + 1, line.at, line.level, line.text, fields))
        self._heard()


def _users(tx: Transaction, app: App, asked: wire.PageOfUsers) -> wire.UsersFound:
    if asked.type and asked.type not in _TYPES:
        raise InvalidRequest(f"The type of a user is eval, prod or demo, not {asked.type[:40]!r}.")
    query = user_pages.Query(
        search=asked.search,
        active=asked.active,
        type=_TYPES.get(asked.type),
        limit=min(asked.limit, ROWS_MAX),
        paging_key=asked.after or None,
    )
    page = user_pages.page(tx, app.app_id, query)
    return wire.UsersFound(tuple(map(user_row, page.users)), page.paging_key or "")


def _devices(tx: Transaction, user: User) -> tuple[wire.DeviceRow, ...]:
    page = device_pages.of_user(tx, user.app_id, user.uid, limit=ROWS_MAX)
    return tuple(device_row(seen.device) for seen in page.devices)


def _sessions(tx: Transaction, user: User, state: str) -> tuple[wire.SessionRow, ...]:
    """Without those of owners who act as the user."""
    if state and state not in _STATES:
        raise InvalidRequest(f"The state of a session is ENROLLED, LOCKED or RESET, not {state[:40]!r}.")
    which = session_pages.Which(state=state or None, limit=ROWS_MAX)
    page = session_pages.of_user(tx, user, which, now=0)
    return tuple(listed_row(each) for each in page.sessions if each.actor is None)


def _session(tx: Transaction, app_id: str, session_id: str) -> wire.SessionRow | None:
    found = session_pages.find_by_id(tx, app_id, session_id)
    return None if found is None else listed_row(found)
