"""Users, devices and sessions for tests, with defaults for all that a test does not speak of."""

from functools import partial
from typing import Any

from msgspec.structs import replace

from admit import clock
from admit.accounts import session_opening, sessions, users
from admit.accounts.app_settings import AppSettings
from admit.accounts.devices import DeviceSent
from admit.accounts.keys import PublicKey
from admit.accounts.session_opening import NoSession, Opened, OpenSession
from admit.accounts.sessions import Session
from admit.accounts.users import NewUser, User, new_user
from admit.clock import DAY_MS
from admit.events import log
from admit.events.log import Recorded
from admit.storage.database import Database
from admit.storage.transaction import Transaction

APP = "app_notes"
NOW = 20_000 * DAY_MS + 43_200_000
"""Noon of some day."""


def key(name: str = "laptop") -> PublicKey:
    """A public key in everything but its bits, which nobody looks at here."""
    return PublicKey(pem=f"-----BEGIN PUBLIC KEY-----\n{name}\n-----END PUBLIC KEY-----\n", thumbprint=name)


def person(user_id: str = "ada@example.com", **changes: Any) -> User:
    """An evaluation user of 30 days who came in at NOW."""
    user = new_user(
        app_id=changes.pop("app_id", APP),
        user_id=user_id,
        email=user_id if "@" in user_id else "",
        email_verified=True,
        name="",
        type="eval",
        data=None,
        eval_days=30,
        way_in="email_code",
        now=NOW,
    )
    return replace(user, **changes)


def login(user: User, *, device_id: str = "laptop", now: int = NOW, **changes: Any) -> OpenSession:
    """A login of somebody who lives here, under the key of that device."""
    opening = OpenSession(
        user=user,
        newcomer=False,
        settings=AppSettings(),
        sent=DeviceSent(id=device_id),
        public_key=key(device_id),
        client_id=None,
        scopes=("ACCESS_DB",),
        refresh_until=now + 180 * DAY_MS,
        now=now,
    )
    return replace(opening, **changes)


async def start_app(database: Database, app_id: str = APP) -> None:
    """What an app needs of this room: a log."""
    await database.write(partial(log.start, app_id=app_id))


async def move_in(database: Database, *people: User) -> None:
    """Writes `people`, in portions that a unit may have."""
    for start in range(0, len(people), 400):
        rows = [NewUser(user, "email", user.user_id) for user in people[start : start + 400]]
        assert await database.write(partial(users.create, rows=rows)) == {}


async def sign_in(database: Database, opening: OpenSession) -> Opened:
    """Carries out `opening`, which is expected to succeed."""
    outcome = await database.write_together(session_opening.open_or_renew, opening)
    assert isinstance(outcome, Opened)
    return outcome


async def not_signed_in(database: Database, opening: OpenSession) -> NoSession:
    """Carries out `opening`, which is expected to be refused."""
    outcome = await database.write_together(session_opening.open_or_renew, opening)
    assert isinstance(outcome, NoSession)
    return outcome


async def user_now(database: Database, user: User) -> User | None:
    """The user as stored; None when they are gone."""
    found = await database.read(partial(users.by_uid, keys=[(user.app_id, user.uid)]))
    return found.get((user.app_id, user.uid))


async def session_now(database: Database, session: Session) -> Session | None:
    """The session as stored; None when it is gone."""
    return await database.read(partial(sessions.find, app_id=session.app_id, session_id=session.session_id))


async def events_of(database: Database, app_id: str = APP) -> list[Recorded]:
    """All events of the app, in order."""
    return await database.read(partial(log.after, app_id=app_id, position=0, limit=10_000))


async def told(database: Database, app_id: str = APP) -> list[str]:
    """The types of all events of the app, in order."""
    return [event.type for event in await events_of(database, app_id)]


async def count(database: Database, table: Any, user: User) -> int:
    """How many rows of `table` belong to the user."""

    def rows(tx: Transaction) -> int:
        return len(tx.execute(table.select().where(table.c.uid == user.uid)).all())

    return await database.read(rows)


def day(number: int) -> int:
    """Noon of the `number`th day after the one of NOW."""
    return NOW + number * DAY_MS


assert clock.utc_day(NOW) == 20_000
