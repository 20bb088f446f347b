"""Filling an app with people by SQL, thousands of times faster than they would come in.

Indexes are dropped first and made again at the end. What is written is what a first login writes, but for
devices, sessions, events and ledger rows: nothing that is measured here reads those of others.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Index, Table, text

from admit.accounts.tables import identities, user_words, users

_TABLES = (users, user_words, identities)
PIECE = 250_000

FIRST_NAMES = """
Ada Alan Alice Amina Anders Anna Beatriz Bilal Carlos Chen Clara Dana David Elena Emma Farid Fatima
Felix Grace Hana Hugo Ibrahim Ines Ingrid Ivan James Jana Jonas Julia Kaito Karin Kofi Lars Lea
Leila Liam Lina Linus Luca Lucia Maja Marco Maria Mateo Mei Mia Milan Mira Nadia Nils Noah Nora Olga
Omar Oscar Paula Pedro Petra Quentin Rahel Ravi Rosa Samir Sara Selma Sofia Sven Tariq Theo Tomas
Uma Vera Viktor Wanda Willem Xenia Yara Yusuf Zara Zoe
""".split()  # noqa: SIM905
LAST_NAMES = """
Abel Adler Ahmed Almeida Andersen Bauer Berg Bernard Blom Borg Castro Chen Clark Costa Dahl Diaz
Dubois Eriksson Evans Fischer Fontana Garcia Gomez Greco Haas Hansen Hoffmann Ito Ivanova Jansen
Johansson Kamara Kaya Keller Khan Kim Klein Kovacs Kruger Lang Larsen Lee Lehmann Lopez Lovelace
Meier Mendes Moreau Morris Mueller Nagy Nakamura Nielsen Novak Okafor Olsen Patel Perez Peters Popov
Quist Ramos Reyes Ricci Rossi Roux Sato Schmidt Silva Singh Smith Sousa Suzuki Tanaka Torres Turing
Ueda Vargas Virtanen Vogel Wagner Weber Wolf Wright Yilmaz Young Zhang Ziegler
""".split()  # noqa: SIM905


def fill(database_url: str, app: str, count: int) -> float:
    """Gives the app named `app` `count` people, `person000000001@example.com` and on; returns the seconds."""
    started = time.perf_counter()
    with filling(database_url, _TABLES) as connection:
        app_id = app_id_of(connection, app)
        _lay_out_names(connection)
        for first in range(1, count + 1, PIECE):
            _write(connection, app_id, first, min(first + PIECE - 1, count))
            connection.commit()
    return time.perf_counter() - started


@contextmanager
def filling(database_url: str, tables: Sequence[Table]) -> Iterator[Connection]:
    """A connection for writing very many rows to `tables`, whose indexes are made again behind it."""
    engine = sqlalchemy.create_engine(_with_driver(database_url))
    with engine.connect() as connection:
        # In the order of migrations: of two that begin alike SQLite takes the newer one, the partial.
        indexes = sorted(
            (index for table in tables for index in table.indexes),
            key=lambda index: index.dialect_options["sqlite"]["where"] is not None,
        )
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA journal_mode=OFF")
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
            connection.exec_driver_sql("PRAGMA cache_size=-1000000")
        _drop(connection, indexes)
        yield connection
        for index in indexes:
            index.create(connection)
            connection.commit()
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")  # as autovacuum would have by the time they had come
    engine.dispose()


def app_id_of(connection: Connection, app: str) -> str:
    """The id of the app of this name."""
    found: str = connection.execute(
        text("SELECT app_id FROM apps WHERE name = :name"), {"name": app}
    ).scalar_one()
    return found


def numbers(connection: Connection, first: int, last: int) -> str:
    """A table `numbers` of the numbers from `first` to `last`: `n`, and nine `digits` of it."""
    if connection.dialect.name == "sqlite":
        return (
            f"(WITH RECURSIVE each(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM each WHERE n < {last}) "
            "SELECT n, printf('%09d', n) AS digits FROM each) AS numbers"
        )
    return (
        "(SELECT n, lpad(n::text, 9, '0') AS digits "
        f"FROM generate_series(CAST({first} AS bigint), {last}) AS each(n)) AS numbers"
    )


def _with_driver(url: str) -> sqlalchemy.URL:
    made = sqlalchemy.make_url(url)
    driver = "sqlite+pysqlite" if made.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return made.set(drivername=driver)


def _drop(connection: Connection, indexes: Sequence[Index]) -> None:
    for index in indexes:
        index.drop(connection)
    connection.commit()


def _lay_out_names(connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE full_names (place INTEGER PRIMARY KEY, first TEXT, last TEXT)"
    )
    rows: list[dict[str, Any]] = [
        {
            "place": place,
            "first": FIRST_NAMES[place % len(FIRST_NAMES)],
            "last": LAST_NAMES[place // len(FIRST_NAMES)],
        }
        for place in range(len(FIRST_NAMES) * len(LAST_NAMES))
    ]
    connection.execute(text("INSERT INTO full_names VALUES (:place, :first, :last)"), rows)


def _write(connection: Connection, app_id: str, first: int, last: int) -> None:
    """Writes the people with the numbers `first` to `last`."""
    combinations = len(FIRST_NAMES) * len(LAST_NAMES)
    connection.execute(
        text(
            "CREATE TEMPORARY TABLE people AS SELECT numbers.n, numbers.digits, 'usr_' || digits AS uid, "
            f"f.first, f.last FROM {numbers(connection, first, last)} "
            f"JOIN full_names f ON f.place = (numbers.n * 7919) % {combinations}"
        )
    )
    parameters = {"app": app_id, "now": 1_790_000_000_000, "never": 2**53 - 1}
    address = "'person' || digits || '@example.com'"
    for statement in (
        f"""INSERT INTO users SELECT :app, uid, {address}, {address}, 'yes', first || ' ' || last,
            CASE WHEN n % 3 = 0 THEN 'prod' ELSE 'eval' END, NULL, :now + n * 1000, :now + n * 1000,
            :now + n * 1000, :never, n % 30, 30, 20000, NULL, NULL, NULL, NULL, 'email_code'
            FROM people ORDER BY uid""",
        f"INSERT INTO identities SELECT :app, 'email', {address}, uid, :now FROM people ORDER BY digits",
        f"""INSERT INTO user_words SELECT :app, lower(first), uid FROM people
            UNION SELECT :app, lower(last), uid FROM people
            UNION SELECT :app, {address}, uid FROM people ORDER BY 2""",
        "DROP TABLE people",
    ):
        used = {name: value for name, value in parameters.items() if f":{name}" in statement}
        connection.execute(text(statement), used)
