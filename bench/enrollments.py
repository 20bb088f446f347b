"""Filling an app of `bench.people` with devices and sessions: SESSIONS_EACH for each, more for one."""

import time

from sqlalchemy import text

from admit.accounts.tables import devices, sessions
from bench import people

SESSIONS_EACH = 5
HEAVY = 1
"""The number of the person who has HEAVY_SESSIONS more."""
HEAVY_SESSIONS = 1_000
FIRST_MOMENT = 1_790_000_000_000
KEY = "-----BEGIN PUBLIC KEY-----\n" + "\n".join(["A" * 64] * 6) + "\n-----END PUBLIC KEY-----"


def fill(database_url: str, app: str, count: int) -> float:
    """Writes `count` sessions of as many people as that takes, who are there; returns the seconds.

    The `n`th session is that of person `(n - 1) // SESSIONS_EACH + 1`, on the device `device` and nine digits
    of `n`; one of a person is ENROLLED, the others were replaced.
    """
    started = time.perf_counter()
    with people.filling(database_url, (devices, sessions)) as connection:
        app_id = people.app_id_of(connection, app)
        ranges = [
            (first, min(first + people.PIECE - 1, count), f"(numbers.n - 1) / {SESSIONS_EACH} + 1")
            for first in range(1, count + 1, people.PIECE)
        ]
        ranges.append((count + 1, count + HEAVY_SESSIONS, str(HEAVY)))
        for first, last, person in ranges:
            rows = people.numbers(connection, first, last)
            whose = f"'usr_' || {_padded(connection.dialect.name, person)}"
            values = {"app": app_id, "at": FIRST_MOMENT}
            connection.execute(
                text(
                    f"INSERT INTO devices SELECT :app, {whose}, 'device' || digits, 'no', 'thumbprint', "
                    '\'Somebody\'\'s tablet\', \'{"platform":"android","model":"Pixel"}\', '
                    f":at + n * 1000, :at + n * 1000 FROM {rows}"
                ),
                values,
            )
            connection.execute(
                text(
                    f"INSERT INTO sessions SELECT :app, 'ses_' || digits, {whose}, 'device' || digits, 1, "
                    f"CASE WHEN n % {SESSIONS_EACH} = 0 THEN 'ENROLLED' ELSE 'LOCKED' END, "
                    f"CASE WHEN n % {SESSIONS_EACH} = 0 THEN '' ELSE 'logged_out' END, "
                    ":key, 'thumbprint', NULL, NULL, 'ACCESS_DB', :at + n * 1000, :at + n * 1000, NULL, "
                    f":until, 0, :at + n * 1000, NULL FROM {rows}"
                ),
                values | {"key": KEY, "until": FIRST_MOMENT * 2},
            )
            connection.commit()
    return time.perf_counter() - started


def people_for(count: int) -> int:
    """How many people `count` sessions are of."""
    return max(1, -(-count // SESSIONS_EACH))


def _padded(dialect: str, number: str) -> str:
    """SQL for nine digits of a number."""
    return f"printf('%09d', {number})" if dialect == "sqlite" else f"lpad(({number})::text, 9, '0')"
