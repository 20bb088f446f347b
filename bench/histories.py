"""Filling an app of `bench.people` with what has happened: rows like those that one real login has left.

Each row is a copy of one that the server itself has written, with ids and times of its own, so that no table
is described here twice. All of it has happened within the last DAYS.
"""

import time
from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, Table, select, text

from admit.accounts.tables import devices, sessions
from admit.clock import DAY_MS
from admit.data.tables import objects
from admit.enrollment.tables import admissions
from admit.events.log import events, logs
from admit.jobs.tables import attempts, jobs, line_heads, lines
from admit.operators.tables import operator_changes
from bench import people

DAYS = 7
DELIVERY_EVERY = 4
"""One of so many events was delivered."""
FAILED_EVERY = 1_000
"""One of so many deliveries has failed for good."""
REFUSED_EVERY = 20
CHANGES = 100_000
"""Changes by operators."""

_TABLES = (admissions, events, jobs, attempts, lines, devices, sessions, objects, operator_changes)


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of rows in the middle, by the placeholders of the pages that show them."""

    user_id: str
    event: str
    delivery: str
    run: str
    admission: str
    change: str
    key: str


def fill(database_url: str, app: str, *, crowd: int, happened: int) -> tuple[Ids, float]:
    """Writes `happened` events of the people 1 to `crowd`; returns ids to look at, and the seconds."""
    started = time.perf_counter()
    with people.filling(database_url, _TABLES) as connection:
        _Copies(connection, people.app_id_of(connection, app), crowd, happened).write()
    middle = f"{crowd // 2:09d}"
    ids = Ids(
        user_id=f"person{middle}@example.com",
        event=f"evt_{happened // 2:09d}",
        delivery=f"dlv_{max(1, happened // DELIVERY_EVERY // 2):09d}",
        run=f"run_{middle}",
        admission=f"adm_{middle}",
        change=f"chg_{CHANGES // 2:09d}",
        key=f"note{middle}",
    )
    return ids, time.perf_counter() - started


class _Copies:
    """The copies in one app. In SQL `n` is the number of a copy, `digits` nine digits of it."""

    def __init__(self, connection: Connection, app_id: str, crowd: int, happened: int) -> None:
        self._connection = connection
        self._app_id = app_id
        self._crowd = crowd
        self._happened = happened
        self._first_at = int(time.time() * 1_000) - DAYS * DAY_MS

    def write(self) -> None:
        """All of it."""
        crowd, delivered = self._crowd, self._happened // DELIVERY_EVERY
        of_person = {"uid": "'usr_' || digits"}
        at = self._at(crowd)
        refused = f"n % {REFUSED_EVERY} = 0"
        self._copy(
            admissions,
            crowd,
            of_person
            | {
                "admission_id": "'adm_' || digits",
                "user_id": "'person' || digits || '@example.com'",
                "opened_at": at,
                "settled_at": f"{at} + 40",
                "verdict": f"CASE WHEN {refused} THEN 'refused' ELSE 'prod' END",
                "code": f"CASE WHEN {refused} THEN 'enrollment_refused' ELSE '' END",
                "latency_ms": "n % 200",
            },
        )
        self._copy(devices, crowd, of_person | {"device_id": "'device' || digits", "last_seen_at": at})
        self._copy(
            sessions,
            crowd,
            of_person
            | {"session_id": "'ses_' || digits", "device_id": "'device' || digits", "created_at": at},
        )
        self._write_events()
        self._write_jobs("dlv_", delivered, self._whose(), f"n * {DELIVERY_EVERY}")
        self._write_jobs("run_", crowd, "'usr_' || digits", "n")
        self._copy(
            lines,
            crowd,
            {"position": "n + 1000", "job_id": "'run_' || digits", "said_at": at},
        )
        self._connection.execute(
            line_heads.update().where(line_heads.c.app_id == self._app_id).values(position=crowd + 1_000)
        )
        self._copy(objects, crowd, {"key": "'note' || digits", "changed_at": at, "revision": "n + 1"})
        self._copy(operator_changes, CHANGES, {"change_id": "'chg_' || digits", "at": self._at(CHANGES)})

    def _write_events(self) -> None:
        """Of each type that the login has told in turn, behind its own."""
        position = self._connection.execute(
            select(logs.c.position).where(logs.c.app_id == self._app_id)
        ).scalar_one()
        found = select(events.c.position).where(events.c.app_id == self._app_id)
        kinds = self._connection.execute(found.order_by(events.c.position)).scalars().all()
        for place, model in enumerate(kinds):
            self._copy(
                events,
                self._happened,
                {
                    "position": f"n + {position}",
                    "event_id": "'evt_' || digits",
                    "uid": self._whose(),
                    "occurred_at": self._at(self._happened),
                },
                where=f"position = {model}",
                which=f"n % {len(kinds)} = {place}",
            )
        behind = position + self._happened
        self._connection.execute(logs.update().where(logs.c.app_id == self._app_id).values(position=behind))

    def _write_jobs(self, prefix: str, count: int, uid: str, sequence: str) -> None:
        """Jobs that are done, but for some that have failed, and the attempts of each."""
        model = f"substr(job_id, 1, 4) = '{prefix}'"
        failed, at = f"n % {FAILED_EVERY} = 0", self._at(count)
        self._copy(
            jobs,
            count,
            {
                "job_id": f"'{prefix}' || digits",
                "subject": uid,
                "sequence": sequence,
                "state": f"CASE WHEN {failed} THEN 'dead' ELSE 'done' END",
                "due_at": "0",
                "tried_at": at,
                "created_at": at,
                "finished_at": at,
                "failed_at": f"CASE WHEN {failed} THEN {at} END",
            },
            where=model,
        )
        self._copy(
            attempts,
            count,
            {
                "job_id": f"'{prefix}' || digits",
                "started_at": at,
                "outcome": f"CASE WHEN {failed} THEN 'connect' ELSE 'ok' END",
            },
            where=model,
        )

    def _at(self, count: int) -> str:
        """When copy `n` of `count` has happened, in SQL."""
        return f"({self._first_at} + n * {max(1, (DAYS * DAY_MS - DAY_MS // 24) // count)})"

    def _whose(self) -> str:
        """Whose copy `n` is, where there are more of them than people, in SQL."""
        number = f"((n - 1) % {self._crowd} + 1)"
        if self._connection.dialect.name == "sqlite":
            return f"'usr_' || printf('%09d', {number})"
        return f"'usr_' || lpad({number}::text, 9, '0')"

    def _copy(
        self,
        table: Table,
        count: int,
        own: Mapping[str, str],
        *,
        where: str = "1 = 1",
        which: str = "1 = 1",
    ) -> None:
        """Copies a row of the app `count` times; `own` columns are SQL of `n` and `digits`."""
        row = (
            self._connection.execute(
                select(table).where(table.c.app_id == self._app_id, text(where)).limit(1)
            )
            .mappings()
            .first()
        )
        if row is None:
            raise SystemExit(f"The login has left nothing in {table.name} where {where}.")
        kept = {name: value for name, value in row.items() if name not in own}
        columns = [column.name for column in table.columns]
        values = ", ".join(own.get(name) or _typed(table, name) for name in columns)
        for first in range(1, count + 1, people.PIECE):
            rows = people.numbers(self._connection, first, min(first + people.PIECE - 1, count))
            statement = f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {values} FROM {rows}"
            self._connection.execute(text(f"{statement} WHERE {which}"), kept)
            self._connection.commit()


def _typed(table: Table, name: str) -> str:
    """A kept value, whose type PostgreSQL cannot guess."""
    return f"CAST(:{name} AS {table.c[name].type.compile()})"
