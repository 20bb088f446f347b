"""PostgreSQL plans a lookup for the table as it is, not as it was when the server had just started."""

import asyncio

from sqlalchemy import text

from admit import clock
from admit.accounts import users
from admit.accounts.users import NewUser, User
from admit.data import object_pages
from admit.events import subscriptions
from admit.jobs import order, queue
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import APP

PEOPLE = 3_000
LOOKUPS = 20
READ_PER_LOOKUP_MAX = 20

ENTRIES_OF_DELIVERIES = text(
    "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname IN ('told', 'jobs')"
)
INDEX_ENTRIES_READ = text("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'users'")


async def test_a_lookup_prepared_on_an_empty_table_stays_a_lookup_when_people_have_come(
    postgres_url: str,
) -> None:
    database = Database(postgres_url)
    database.signals.attach(asyncio.get_running_loop())

    def look(tx: Transaction) -> int:
        return len(users.by_user_id(tx, [(APP, "person7@example.com"), (APP, "nobody@example.com")]))

    async def entries_read() -> int:
        await database.write(lambda tx: tx.execute(text("SELECT pg_stat_force_next_flush()")) and None)
        await asyncio.sleep(0.2)
        return int(await database.read(lambda tx: tx.execute(INDEX_ENTRIES_READ).scalar_one()))

    for _ in range(LOOKUPS):
        assert await database.write(look) == 0
    for start in range(0, PEOPLE, 1_000):
        people = [NewUser(_person(number)) for number in range(start, start + 1_000)]
        await database.write(lambda tx, people=people: users.create(tx, people))  # type: ignore[misc]
    before = await entries_read()
    for _ in range(LOOKUPS):
        assert await database.write(look) == 1
    read = await entries_read() - before
    database.close()
    assert read <= LOOKUPS * READ_PER_LOOKUP_MAX


def _person(number: int) -> User:
    return users.new_user(
        app_id=APP,
        user_id=f"person{number}@example.com",
        email="",
        email_verified=False,
        name="",
        type="prod",
        data=None,
        eval_days=30,
        way_in="email_code",
        now=clock.now(),
    )


async def test_who_was_told_and_whose_turn_it_is_is_looked_up_while_the_tables_are_young(
    postgres_url: str,
) -> None:
    """By the person, also where an index would list everybody in the lane or of the subscriber."""
    database = Database(postgres_url)
    database.signals.attach(asyncio.get_running_loop())
    await database.write(
        lambda tx: tx.execute(text("ALTER TABLE told SET (autovacuum_enabled=off)")) and None
    )
    await database.write(
        lambda tx: tx.execute(text("ALTER TABLE jobs SET (autovacuum_enabled=off)")) and None
    )
    keys = [(APP, f"usr_{number}", "ep_1", "user.enrolled", "") for number in range(PEOPLE)]
    places = [(APP, "ep_1", f"usr_{number}") for number in range(PEOPLE)]
    await database.write(lambda tx: tx.write(subscriptions.TELL, keys))

    def owe(tx: Transaction) -> None:
        for app_id, lane, uid in places:
            queue.enqueue(
                tx, app_id=app_id, kind="delivery", payload="", now=1, lane=lane, subject=uid, job_id=uid
            )

    await database.write(owe)

    async def entries_read() -> int:
        await database.write(lambda tx: tx.execute(text("SELECT pg_stat_force_next_flush()")) and None)
        await asyncio.sleep(0.2)
        return int(await database.read(lambda tx: tx.execute(ENTRIES_OF_DELIVERIES).scalar_one()))

    before = await entries_read()
    for _ in range(LOOKUPS):
        told = await database.write(lambda tx: len(subscriptions.ALREADY_TOLD.rows(tx, keys[:10])))
        last = await database.write(lambda tx: len(order.LAST.rows(tx, places[:10])))
        assert (told, last) == (10, 10)
    read = await entries_read() - before
    database.close()
    assert read <= LOOKUPS * 10 * READ_PER_LOOKUP_MAX


OBJECTS = text("""
    INSERT INTO objects (app_id, table_name, realm, key, revision, size, writer, changed_at, history, value)
    SELECT 'app', 'notes', 'rlm-public', 'note' || lpad(n::text, 9, '0'), n, 2, '', 0, 'rlm-public', '{}'
    FROM generate_series(1, 50000) AS n
""")
READ_ONE_BY_ONE = text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'objects'")


async def test_objects_of_one_realm_are_counted_as_far_as_asked_and_no_further(postgres_url: str) -> None:
    """By the columns of a key that are compared together, PostgreSQL would take it that all rows will do."""
    database = Database(postgres_url)
    database.signals.attach(asyncio.get_running_loop())

    def look(tx: Transaction) -> tuple[object_pages.Counted, int]:
        counted = object_pages.count(tx, "app", "notes", None, None, 100)
        return counted, tx.execute(READ_ONE_BY_ONE).scalar_one()

    await database.write(lambda tx: tx.execute(OBJECTS) and None)
    await database.write(lambda tx: tx.execute(text("ANALYZE objects")) and None)
    counted, read = await database.read(look)
    assert (counted.objects, counted.after) == (100, ("rlm-public", "note000000100"))
    assert read == 0
    database.close()
