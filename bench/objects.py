"""Filling an app of `bench.people` with objects: notes in the private realms of its people."""

import json
import time

from sqlalchemy import Connection, text

from admit.data.tables import objects
from bench import people

TABLE = "notes"
FIRST_MOMENT = 1_790_000_000_000
PROD = 3
"""Of `bench.people` every third has a license that does not run out: our person 1 is their number 3."""
NOTE = {
    "title": "Milk, bread, and what else there is",
    "text": "It is a note as people write them, some two lines long. " * 2,
    "done": False,
    "written": {"$t": "Date", "v": "2026-11-22T14:14:47.436Z"},
}
"""What a person writes; the addon adds the key, and whose it is."""


def fill(database_url: str, app: str, *, crowd: int, each: int, reader: int, read: int) -> float:
    """Gives each of the people 1 to `crowd` `each` notes, the person `reader` `read`; returns the seconds.

    The revision of a realm is the number of its notes.
    """
    started = time.perf_counter()
    with people.filling(database_url, (objects,)) as connection:
        app_id = people.app_id_of(connection, app)
        for first in range(1, crowd * each + 1, people.PIECE):
            last = min(first + people.PIECE - 1, crowd * each)
            _write(
                connection, app_id, first, last, f"((n - 1) / {each} + 1) * {PROD}", f"(n - 1) % {each} + 1"
            )
        _write(connection, app_id, 1, read, str(PROD * reader), "n")
        for person, count in [*((number, each) for number in range(1, crowd + 1)), (reader, read)]:
            connection.execute(
                text("INSERT INTO data_realms VALUES (:app, :realm, :revision)"),
                {"app": app_id, "realm": f"usr_{PROD * person:09d}", "revision": count},
            )
        connection.commit()
    return time.perf_counter() - started


def key(person: int, number: int) -> str:
    """The key of a person's note `number`, from 1 on."""
    return f"nts{PROD * person:09d}n{number:09d}"


def user_id(person: int) -> str:
    """The userId of our person `person`."""
    return f"person{PROD * person:09d}@example.com"


def note(person: int, key: str) -> dict[str, object]:
    """A note as the addon sends it."""
    return {"id": key, **NOTE, "owner": user_id(person), "realmId": user_id(person)}


def _write(connection: Connection, app_id: str, first: int, last: int, person: str, number: str) -> None:
    """Writes notes; `person`, of `bench.people`, and `number` are those of the `n`th, in SQL."""
    before, after = (
        json.dumps(part) for part in ({"id": "<key>", **NOTE}, {"owner": "<user>", "realmId": "<user>"})
    )
    value = f"{before[:-1]}, {after[1:]}"
    whose = _padded(connection, person)
    named = f"'nts' || {whose} || 'n' || {_padded(connection, number)}"
    columns = "app_id, table_name, realm, history, key, revision, size, writer, changed_at, value"
    filled = f"replace(replace(:value, '<key>', {named}), '<user>', 'person' || {whose} || '@example.com')"
    rows = people.numbers(connection, first, last)
    connection.execute(
        text(
            f"INSERT INTO objects ({columns}) SELECT :app, '{TABLE}', 'usr_' || {whose}, 'usr_' || {whose}, "
            f"{named}, {number}, length({filled}), '', :at, {filled} FROM {rows}"
        ),
        {"app": app_id, "value": value, "at": FIRST_MOMENT},
    )
    connection.commit()


def _padded(connection: Connection, number: str) -> str:
    """SQL for nine digits of a number."""
    if connection.dialect.name == "sqlite":
        return f"printf('%09d', {number})"
    return f"lpad(({number})::text, 9, '0')"
