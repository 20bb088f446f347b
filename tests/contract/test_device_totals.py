"""How many devices were heard of: each once, however often it was enrolled, in pieces as in one."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from admit.accounts import counting, device_totals
from admit.accounts.device_totals import DeviceTotals
from admit.storage.transaction import Transaction
from tests.contract.served import Served
from tests.contract.signin_desk import device
from tests.contract.token_desk import signed_in

PEOPLE = 5


class Watch:
    """A clock of seconds that the test moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
async def totals(served: Served) -> AsyncIterator[DeviceTotals]:
    totals = DeviceTotals(served.gateway.db, served.hands, monotonic=Watch())
    yield totals
    await totals.close()


@pytest.mark.parametrize("piece", [1, 2, 5, 20_000])
async def test_all_are_counted_however_large_the_pieces(
    served: Served, totals: DeviceTotals, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(device_totals, "PIECE_USERS", piece)
    monkeypatch.setattr(counting, "FIRST_SECONDS_MAX", 10.0)
    app = await served.app()
    for number in range(PEOPLE):
        await signed_in(served, f"p{number}@example.com")
    await signed_in(served, "p0@example.com", by=device(2))
    await signed_in(served, "p1@example.com")
    assert await totals.seen(app.app_id, 7) == PEOPLE + 1


async def test_other_apps_have_their_own(served: Served, totals: DeviceTotals) -> None:
    await served.app()
    other = await served.app("plans")
    await signed_in(served, "ada@example.com")
    assert await totals.seen(other.app_id, 7) == 0


async def test_only_who_comes_soon_after_its_beginning_waits_for_a_long_count(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()
    count_piece = device_totals._count_piece

    def slowly(tx: Transaction, *, app_id: str, after: str, since: int) -> tuple[int, str]:
        may_go_on.wait(30)
        return count_piece(tx, app_id=app_id, after=after, since=since)

    monkeypatch.setattr(device_totals, "_count_piece", slowly)
    app = await served.app()
    await signed_in(served, "ada@example.com")
    watch = Watch()
    totals = DeviceTotals(served.gateway.db, served.hands, monotonic=watch)
    try:
        assert await totals.seen(app.app_id, 7) is None
        monkeypatch.setattr(counting, "FIRST_SECONDS_MAX", 60.0)
        watch.at = 61.0
        async with asyncio.timeout(10):
            assert await totals.seen(app.app_id, 7) is None
        watch.at = 59.0
        waiting = asyncio.create_task(totals.seen(app.app_id, 7))
        may_go_on.set()
        assert await waiting == 1
    finally:
        may_go_on.set()
        await totals.close()
