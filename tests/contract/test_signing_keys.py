"""Signing keys: one per rotation however many processes rotate, and none that ends before its tokens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from joserfc.jwk import ECKey

from admit.accounts.signing_keys import (
    SIGNS_FOR_MS,
    TOKEN_SECONDS_MAX,
    SigningKey,
    key_that_signs,
    load_keys,
    tend_keys,
)
from admit.accounts.tables import signing_keys
from admit.accounts.tokens import Mint
from admit.clock import HOUR_MS
from admit.errors import ConfigError, InvalidToken
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

START = 1_800_000_000_000
DUE = START + SIGNS_FOR_MS - HOUR_MS
ENDED = DUE + HOUR_MS + TOKEN_SECONDS_MAX * 1_000 + HOUR_MS
ISSUER = "https://login.example.com/demo"


async def tend(database: Database, ring: KeyRing, now: int) -> tuple[SigningKey, ...]:
    return await database.write(partial(tend_keys, ring=ring, now=now))


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@asynccontextmanager
async def a_mint(database: Database, ring: KeyRing, clock: Clock) -> AsyncIterator[Mint]:
    mint = Mint(database, ring, clock, 3_600, 180)
    await mint.load()
    yield mint
    await mint.close()


def taken(mint: Mint, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when `mint` has loaded its keys again."""
    event, take = asyncio.Event(), mint._take

    def take_and_tell(keys: tuple[SigningKey, ...]) -> None:
        take(keys)
        event.set()

    monkeypatch.setattr(mint, "_take", take_and_tell)
    return event


def token_of(mint: Mint, **more: int) -> str:
    return mint.access(app_id="app_1", issuer=ISSUER, claims={"sub": "ann"}, **more).token


def kids(mint: Mint) -> list[str]:
    return [key["kid"] for key in mint.jwks()["keys"]]


async def test_first_key_signs_at_once_and_stays(database: Database, ring: KeyRing) -> None:
    first = await tend(database, ring, START)
    again = await tend(database, ring, DUE - 1)

    assert [(key.generation, key.signs_from, key.published_until) for key in first] == [(1, START, None)]
    assert [key.key_id for key in again] == [key.key_id for key in first]


async def test_next_key_is_published_an_hour_before_it_signs(database: Database, ring: KeyRing) -> None:
    await tend(database, ring, START)

    old, new = await tend(database, ring, DUE)

    assert (new.generation, new.signs_from, new.published_until) == (2, DUE + HOUR_MS, None)
    assert key_that_signs((old, new), DUE + HOUR_MS - 1) == old
    assert key_that_signs((old, new), DUE + HOUR_MS) == new


async def test_old_key_is_destroyed_when_its_last_token_has_ended(database: Database, ring: KeyRing) -> None:
    await tend(database, ring, START)
    await tend(database, ring, DUE)

    last_token_ends = DUE + HOUR_MS + TOKEN_SECONDS_MAX * 1_000
    assert len(await tend(database, ring, last_token_ends)) == 2
    assert [key.generation for key in await tend(database, ring, ENDED)] == [2]


async def test_server_that_slept_for_years_makes_one_key(database: Database, ring: KeyRing) -> None:
    await tend(database, ring, START)
    keys = await tend(database, ring, START + 20 * SIGNS_FOR_MS)
    assert [key.generation for key in keys] == [1, 2]
    assert len(await tend(database, ring, START + 20 * SIGNS_FOR_MS)) == 2


@pytest.mark.parametrize("now", [START, DUE])
async def test_processes_that_rotate_at_once_make_one_key(postgres_url: str, ring: KeyRing, now: int) -> None:
    processes = [Database(postgres_url) for _ in range(4)]
    try:
        if now == DUE:
            await tend(processes[0], ring, START)
        answers = await asyncio.gather(*(tend(each, ring, now) for each in processes))
        stored = await processes[0].read(partial(load_keys, ring=ring))
        assert {tuple(key.key_id for key in keys) for keys in answers} == {
            tuple(key.key_id for key in stored)
        }
        assert len(stored) == (1 if now == START else 2)
        assert [key.published_until is None for key in stored] == [False] * (len(stored) - 1) + [True]
    finally:
        for each in processes:
            each.close()


async def test_keys_made_twice_of_one_rotation_are_one(database: Database, ring: KeyRing) -> None:
    await tend(database, ring, START)
    answers = await asyncio.gather(*(tend(database, ring, DUE) for _ in range(10)))
    assert len({tuple(key.key_id for key in keys) for keys in answers}) == 1


async def test_private_keys_are_sealed_each_in_its_own_row(database: Database, ring: KeyRing) -> None:
    await tend(database, ring, START)
    await tend(database, ring, DUE)
    in_order = signing_keys.select().order_by(signing_keys.c.generation)
    rows = await database.read(lambda tx: tx.execute(in_order).all())
    assert not [row for row in rows if "PRIVATE" in row.sealed]

    swap = signing_keys.update().where(signing_keys.c.generation == 1).values(sealed=rows[1].sealed)
    await database.write(lambda tx: tx.execute(swap).rowcount)
    with pytest.raises(ConfigError, match="SECRET_KEY does not open"):
        await database.read(partial(load_keys, ring=ring))


async def test_wrong_secret_key_stops_the_start_and_changes_nothing(
    database: Database, ring: KeyRing
) -> None:
    before = await tend(database, ring, START)
    mint = Mint(database, KeyRing.parse("another-secret-key-0123456789-0123456789"), Clock(), 3_600, 180)
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        await mint.load()
    await mint.close()
    assert [key.key_id for key in await tend(database, ring, START)] == [key.key_id for key in before]


async def test_whoever_writes_to_the_table_cannot_make_us_trust_a_key(
    database: Database, ring: KeyRing
) -> None:
    async with a_mint(database, ring, Clock()) as mint:
        row = {
            "key_id": "key_x",
            "generation": 2,
            "sealed": ECKey.generate_key("P-256").as_pem(private=True).decode(),
            "created_at": START,
            "signs_from": START,
            "published_until": None,
        }
        await database.write(lambda tx: tx.execute(signing_keys.insert(), row) and None)
        with pytest.raises(ConfigError):
            await mint._tend()
        assert len(kids(mint)) == 1


async def test_mint_rotates_by_itself_and_honours_the_former_key(database: Database, ring: KeyRing) -> None:
    clock = Clock()
    async with a_mint(database, ring, clock) as mint:
        old = kids(mint)
        clock.now = DUE
        await mint._tend()
        assert len(kids(mint)) == 2

        clock.now = DUE + HOUR_MS - 1_000
        before = token_of(mint)
        clock.now = DUE + HOUR_MS
        after = token_of(mint)

        assert before.split(".")[0] != after.split(".")[0]
        assert mint.verify(before, app_id="app_1").sub == "ann"
        clock.now = ENDED
        await mint._tend()
        assert len(kids(mint)) == 1
        assert kids(mint) != old


async def test_longest_token_lives_to_its_end_across_a_rotation(database: Database, ring: KeyRing) -> None:
    clock = Clock()
    async with a_mint(database, ring, clock) as mint:
        clock.now = DUE
        await mint._tend()
        clock.now = DUE + HOUR_MS - 1  # the last moment of the old key
        token = token_of(mint, expires_in_seconds=TOKEN_SECONDS_MAX)
        clock.now += TOKEN_SECONDS_MAX * 1_000 - 1_000
        await mint._tend()
        assert mint.verify(token, app_id="app_1").sub == "ann"


async def test_mints_of_one_database_know_each_others_tokens(
    database: Database, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with a_mint(database, ring, clock) as one, a_mint(database, ring, clock) as other:
        heard = taken(other, monkeypatch)
        clock.now = DUE
        await one._tend()
        async with asyncio.timeout(10):
            await heard.wait()
        clock.now = DUE + HOUR_MS
        assert other.verify(token_of(one), app_id="app_1").sub == "ann"


async def test_token_of_an_unknown_key_makes_the_mint_look(
    database: Database, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with a_mint(database, ring, clock) as one, a_mint(database, ring, clock) as deaf:
        deaf._end_subscription()
        deaf._end_subscription = lambda: None
        looked = taken(deaf, monkeypatch)
        clock.now = DUE
        await one._tend()
        clock.now = DUE + HOUR_MS
        token = token_of(one)
        with pytest.raises(InvalidToken):
            deaf.verify(token, app_id="app_1")
        async with asyncio.timeout(10):
            await looked.wait()
        assert deaf.verify(token, app_id="app_1").sub == "ann"


async def test_keys_outlive_a_change_of_the_secret_key(database: Database, ring: KeyRing) -> None:
    async with a_mint(database, ring, Clock()) as mint:
        token = token_of(mint)
    newer = KeyRing((b"a-newer-secret-key-0123456789012", *ring.keys))
    async with a_mint(database, newer, Clock()) as mint:
        mint.verify(token, app_id="app_1")
