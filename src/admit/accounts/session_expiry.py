"""Sessions that end by time: those that can be refreshed no longer, and those of which nothing is heard."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, literal_column, select

from admit.accounts import session_states
from admit.accounts.app_settings import AppSettings
from admit.accounts.session_standing import is_idle
from admit.accounts.sessions import Session
from admit.accounts.tables import apps, sessions
from admit.accounts.users import Key
from admit.clock import MINUTE_MS
from admit.storage.database import Database
from admit.storage.transaction import Transaction

PAGE_APPS = 500
PAGE_SESSIONS = 500
UNHEARD_MS = 10 * MINUTE_MS
"""Signs of life are written down some time after they were heard, see `connections`."""

# Spelled out, the state leads SQLite to the index of the sessions that are ENROLLED.
PAST_END = (
    select(sessions.c.app_id, sessions.c.session_id)
    .where(sessions.c.state == literal_column("'ENROLLED'"), sessions.c.refresh_until <= bindparam("now"))
    .order_by(sessions.c.refresh_until)
    .limit(bindparam("most"))
)
PAGE_OF_APPS = (
    select(apps.c.app_id, apps.c.settings)
    .where(apps.c.app_id > bindparam("after"))
    .order_by(apps.c.app_id)
    .limit(PAGE_APPS)
)
PAGE_OF_SESSIONS = (
    select(sessions.c.app_id, sessions.c.session_id, sessions.c.state, sessions.c.connected_at)
    .where(sessions.c.app_id == bindparam("app"), sessions.c.session_id > bindparam("after"))
    .order_by(sessions.c.session_id)
    .limit(PAGE_SESSIONS)
)


class IdleLimit(msgspec.Struct, frozen=True):
    """Sessions of the app end after so many days without a sign of life."""

    app_id: str
    days: int

    def is_over(self, connected_at: int, now: int) -> bool:
        """Whether it has been silent for too long, even if its last sign of life is yet to be written."""
        return is_idle(connected_at, now=now - UNHEARD_MS, idle_days=self.days)


class Page(msgspec.Struct, frozen=True):
    """Some sessions of an app, by their keys: the last of them, and those that are idle."""

    last: str
    idle: list[Key]


def expire(tx: Transaction, now: int, rows_max: int) -> int:
    """Ends at most `rows_max` sessions that can be refreshed no longer; returns how many it were."""
    keys = [(row.app_id, row.session_id) for row in tx.execute(PAST_END, {"now": now, "most": rows_max})]

    def is_due(session: Session) -> bool:
        return session.state == "ENROLLED" and session.refresh_until <= now

    return session_states.end_each(tx, keys, now, "expired", is_due)


async def end_idle(db: Database, now: int) -> int:
    """Ends the sessions that were silent for longer than their app allows; returns how many it were.

    Walks through all sessions of such apps by their keys, a page at a time, and writes only what is due.
    """
    ended = 0
    for limit in await _idle_limits(db):
        after = ""
        while page := await db.read(partial(_page, limit=limit, after=after, now=now)):
            after = page.last
            if page.idle:
                ended += await db.write(partial(_end, keys=page.idle, limit=limit, now=now), patient=True)
    return ended


async def _idle_limits(db: Database) -> list[IdleLimit]:
    limits: list[IdleLimit] = []
    after = ""
    while rows := await db.read(partial(_page_of_apps, after=after)):
        after = rows[-1].app_id
        read = [(row.app_id, msgspec.json.decode(row.settings, type=AppSettings)) for row in rows]
        limits += [IdleLimit(app_id, it.session_idle_days) for app_id, it in read if it.session_idle_days]
    return limits


def _page_of_apps(tx: Transaction, after: str) -> Sequence[Row[Any]]:
    return tx.execute(PAGE_OF_APPS, {"after": after}).all()


def _page(tx: Transaction, limit: IdleLimit, after: str, now: int) -> Page | None:
    """The sessions of the app behind `after`; None: there are no more."""
    rows = tx.execute(PAGE_OF_SESSIONS, {"app": limit.app_id, "after": after}).all()
    if not rows:
        return None
    idle = [
        (limit.app_id, row.session_id)
        for row in rows
        if row.state == "ENROLLED" and limit.is_over(row.connected_at, now)
    ]
    return Page(rows[-1].session_id, idle)


def _end(tx: Transaction, keys: Sequence[Key], limit: IdleLimit, now: int) -> int:
    def is_due(session: Session) -> bool:
        return session.state == "ENROLLED" and limit.is_over(session.connected_at, now)

    return session_states.end_each(tx, keys, now, "inactive", is_due)
