"""Limits are exact, whoever asks at the same time, and the table says nothing about anyone."""

import asyncio
from functools import partial

import msgspec
import pytest
from sqlalchemy import func, select

from admit.signin.limits import Limit, Limits, give_back, prune, take, wants
from admit.signin.tables import limits
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from tests.contract.signin_desk import NOON

HOUR = Limit(3, 3_600)


async def ask(
    db: Database, ring: KeyRing, *asked: tuple[str, str, Limit | None], now: int = NOON
) -> int | None:
    return await db.write(lambda tx: take(tx, ring, "app_1", wants(*asked), now))


async def test_one_more_than_the_limit_waits_for_the_next_window(database: Database, ring: KeyRing) -> None:
    now = NOON + 600_000
    for _ in range(3):
        assert await ask(database, ring, ("mail-to", "bob", HOUR), now=now) is None
    assert await ask(database, ring, ("mail-to", "bob", HOUR), now=now) == 3_000
    assert await ask(database, ring, ("mail-to", "bob", HOUR), now=now + 3_000_000 - 1) == 1
    assert await ask(database, ring, ("mail-to", "bob", HOUR), now=now + 3_000_000) is None


async def test_names_values_and_apps_are_counted_apart(database: Database, ring: KeyRing) -> None:
    one = Limit(1, 3_600)
    assert await ask(database, ring, ("mail-to", "bob", one)) is None
    assert await ask(database, ring, ("mail-to", "eve", one)) is None
    assert await ask(database, ring, ("mail-by", "bob", one)) is None
    assert (
        await database.write(lambda tx: take(tx, ring, "app_2", wants(("mail-to", "bob", one)), NOON)) is None
    )
    assert await ask(database, ring, ("mail-to", "bob", one)) == 3_600


async def test_windows_that_end_together_are_not_one(database: Database, ring: KeyRing) -> None:
    now = NOON + 12 * 3_600_000 - 1_000  # the last second of an hour and of a day
    for _ in range(3):
        assert await ask(database, ring, ("x", "bob", Limit(3, 3_600)), now=now) is None
    assert await ask(database, ring, ("x", "bob", Limit(3, 86_400)), now=now) is None


async def test_what_is_refused_counts_nowhere(database: Database, ring: KeyRing) -> None:
    assert await ask(database, ring, ("mail-to", "bob", Limit(1, 3_600))) is None
    for _ in range(5):
        both = (("mail-by", "1.2.3.4", HOUR), ("mail-to", "bob", Limit(1, 3_600)))
        assert await ask(database, ring, *both) == 3_600
    for _ in range(3):
        assert await ask(database, ring, ("mail-by", "1.2.3.4", HOUR)) is None
    assert await ask(database, ring, ("mail-by", "1.2.3.4", HOUR)) is not None


async def test_the_longest_wait_of_all_limits_is_told(database: Database, ring: KeyRing) -> None:
    both = (("a", "x", Limit(1, 86_400)), ("b", "x", Limit(1, 60)))
    await ask(database, ring, *both)
    assert await ask(database, ring, *both) == 43_200


async def test_two_hundred_at_once_get_exactly_the_limit(database: Database, ring: KeyRing) -> None:
    asked = ("mail-to", "bob", Limit(10, 3_600))
    waits = await asyncio.gather(*(ask(database, ring, asked) for _ in range(200)))
    assert waits.count(None) == 10


async def test_two_processes_at_once_get_exactly_the_limit(postgres_url: str, ring: KeyRing) -> None:
    one, other = Database(postgres_url), Database(postgres_url)
    try:
        # in opposite order, so that they could wait for each other
        asked = [("mail-to", "bob", Limit(20, 3_600)), ("mail-of", "app", Limit(1_000, 3_600))]
        waits = await asyncio.gather(
            *(ask(one, ring, *asked) for _ in range(100)),
            *(ask(other, ring, *asked[::-1]) for _ in range(100)),
        )
        assert waits.count(None) == 20
        counts = await one.read(lambda tx: tx.execute(select(limits.c.count)).scalars().all())
        assert list(counts) == [20, 20]
    finally:
        one.close()
        other.close()


async def test_what_is_given_back_can_be_taken_again(database: Database, ring: KeyRing) -> None:
    asked = wants(("wrong-guess", "bob", Limit(1, 86_400)))
    for _ in range(3):
        assert await database.write(partial(take, ring=ring, app_id="app_1", counted=asked, now=NOON)) is None
        await database.write(partial(give_back, ring=ring, app_id="app_1", counted=asked, now=NOON))
    assert await ask(database, ring, ("wrong-guess", "bob", Limit(1, 86_400))) is None


async def test_no_limit_and_nobody_known_leave_no_trace(database: Database, ring: KeyRing) -> None:
    assert await ask(database, ring, ("mail-to", "bob", None), ("mail-by", "", HOUR)) is None
    assert (
        await database.read(lambda tx: tx.execute(select(func.count()).select_from(limits)).scalar_one()) == 0
    )


async def test_the_table_names_nobody(database: Database, ring: KeyRing) -> None:
    await ask(database, ring, ("mail-to", "bob@example.com", HOUR), ("mail-by", "203.0.113.7", HOUR))
    rows = await database.read(lambda tx: tx.execute(select(limits)).all())
    assert "bob" not in str(rows)
    assert "203.0.113" not in str(rows)


async def test_windows_are_forgotten_when_they_are_over_a_few_at_a_time(
    database: Database, ring: KeyRing
) -> None:
    for number in range(5):
        await ask(database, ring, ("mail-to", str(number), HOUR))
    await ask(database, ring, ("mail-to", "late", Limit(1, 86_400)))
    later = NOON + 3_600_000
    pruned = [await database.write(lambda tx: prune(tx, later, 2), patient=True) for _ in range(4)]
    assert pruned == [2, 2, 1, 0]
    assert await ask(database, ring, ("mail-to", "late", Limit(1, 86_400)), now=later) is not None


@pytest.mark.parametrize(
    "text", ['{"mails_per_mailbox": {"count": 0, "window_seconds": 60}}', '{"mails_per_day": null}', "[]"]
)
def test_a_wrong_file_of_limits_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Limits)


def test_a_file_of_limits_may_name_some_and_lift_others() -> None:
    text = '{"mails_per_mailbox": {"count": 2, "window_seconds": 60}, "mails_per_app": null}'
    read = msgspec.json.decode(text, type=Limits)
    assert read.mails_per_mailbox == Limit(2, 60)
    assert read.mails_per_app is None
    assert read.mails_per_address == Limits().mails_per_address
