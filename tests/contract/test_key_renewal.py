"""A key in a refresh is the session's from then on, if the present key has signed, and never otherwise."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from admit.accounts import former_keys
from admit.accounts.apps import App
from admit.accounts.tables import former_keys as former_keys_table
from admit.accounts.user_deletion import delete_user
from tests.contract.served import Served, serving
from tests.contract.signin_desk import Device, device
from tests.contract.token_desk import refreshed, signed_in, signed_refresh

ADA = "ada@example.com"
OLD, NEW, OTHER = 1, 2, 3


async def enrolled(served: Served) -> tuple[App, str]:
    """An app, and the refresh token of Ada's session there, whose key is OLD."""
    app = await served.app()
    token: str = (await signed_in(served, ADA, by=device(OLD))).json["refreshToken"]
    return app, token


async def status(served: Served, body: dict[str, Any]) -> int:
    return (await refreshed(served, body)).status


def by(number: int) -> Device:
    return device(number)


async def test_the_session_goes_on_under_the_new_key(served: Served) -> None:
    _, token = await enrolled(served)
    renewal = await refreshed(served, signed_refresh(served, token, by=by(OLD), new_key=by(NEW)))
    assert (renewal.status, renewal.json["claims"]["sub"]) == (200, ADA)
    # The client keeps its session, and the refresh token that it has had from the start.
    served.hands.move(seconds=61)
    again = await refreshed(served, signed_refresh(served, token, by=by(NEW)))
    assert again.json["claims"]["sid"] == renewal.json["claims"]["sid"]
    assert await status(served, signed_refresh(served, token, by=by(OLD))) == 401


async def test_a_stolen_refresh_token_and_a_key_of_ones_own_open_nothing(served: Served) -> None:
    _, token = await enrolled(served)
    for signer in (NEW, OTHER):
        body = signed_refresh(served, token, by=by(signer), new_key=by(NEW))
        assert await status(served, body) == 401
    assert await status(served, signed_refresh(served, token, by=by(NEW))) == 401
    assert await status(served, signed_refresh(served, token, by=by(OLD))) == 200


async def test_a_recorded_refresh_with_a_key_added_to_it_does_not_take_the_session_over(
    served: Served,
) -> None:
    _, token = await enrolled(served)
    recorded = signed_refresh(served, token, by=by(OLD))
    assert await status(served, recorded) == 200
    forged = recorded | {"public_key": by(NEW).public_key.pem}
    assert await status(served, forged) == 401
    assert await status(served, signed_refresh(served, token, by=by(NEW))) == 401
    assert await status(served, recorded) == 200


async def test_a_renewal_whose_answer_was_lost_may_be_repeated(served: Served) -> None:
    _, token = await enrolled(served)
    renewal = signed_refresh(served, token, by=by(OLD), new_key=by(NEW))
    assert [await status(served, renewal) for _ in range(3)] == [200, 200, 200]
    served.hands.move(seconds=61)
    assert await status(served, renewal) == 401
    assert await status(served, signed_refresh(served, token, by=by(NEW))) == 200


async def test_another_tab_may_still_refresh_by_the_former_key_for_a_minute(served: Served) -> None:
    _, token = await enrolled(served)
    await status(served, signed_refresh(served, token, by=by(OLD), new_key=by(NEW)))
    served.hands.move(seconds=50)
    assert await status(served, signed_refresh(served, token, by=by(OLD))) == 200
    served.hands.move(seconds=11)
    assert await status(served, signed_refresh(served, token, by=by(OLD))) == 401


async def test_the_former_key_chooses_no_other_key(served: Served) -> None:
    _, token = await enrolled(served)
    await status(served, signed_refresh(served, token, by=by(OLD), new_key=by(NEW)))
    served.hands.move(seconds=1)
    assert await status(served, signed_refresh(served, token, by=by(OLD), new_key=by(OTHER))) == 401
    assert await status(served, signed_refresh(served, token, by=by(OLD), new_key=by(OLD))) == 401
    assert await status(served, signed_refresh(served, token, by=by(OTHER))) == 401
    assert await status(served, signed_refresh(served, token, by=by(NEW))) == 200


async def test_two_tabs_with_two_keys_at_once_leave_one_of_them(served: Served) -> None:
    _, token = await enrolled(served)
    rivals = [signed_refresh(served, token, by=by(OLD), new_key=by(number)) for number in (NEW, OTHER)]
    statuses = await asyncio.gather(*(status(served, each) for each in rivals))
    assert sorted(statuses) == [200, 401]
    served.hands.move(seconds=61)
    winner, loser = (NEW, OTHER) if statuses[0] == 200 else (OTHER, NEW)
    assert await status(served, signed_refresh(served, token, by=by(winner))) == 200
    assert await status(served, signed_refresh(served, token, by=by(loser))) == 401


async def test_of_rivals_on_two_processes_one_is_first(served_postgres_url: str) -> None:
    async with AsyncExitStack() as servers:
        one = await servers.enter_async_context(serving(served_postgres_url))
        _, token = await enrolled(one)  # while no other could take the mail
        two = await servers.enter_async_context(serving(served_postgres_url))
        present = OLD
        for pair in ((2, 3), (4, 5), (6, 7)):
            rivals = [
                (where, signed_refresh(one, token, by=by(present), new_key=by(number)))
                for where, number in zip((one, two), pair, strict=True)
            ]
            statuses = await asyncio.gather(*(status(where, body) for where, body in rivals))
            assert sorted(statuses) == [200, 401]
            present = pair[statuses.index(200)]
            one.hands.move(seconds=61)
            two.hands.move(seconds=61)
        assert await status(one, signed_refresh(one, token, by=by(present))) == 200


async def test_tabs_that_send_the_same_renewal_at_once_all_go_on(served: Served) -> None:
    _, token = await enrolled(served)
    renewal = signed_refresh(served, token, by=by(OLD), new_key=by(NEW))
    assert await asyncio.gather(*(status(served, renewal) for _ in range(12))) == [200] * 12


async def test_the_present_key_named_again_changes_nothing(served: Served) -> None:
    _, token = await enrolled(served)
    assert await status(served, signed_refresh(served, token, by=by(OLD), new_key=by(OLD))) == 200
    served.hands.move(seconds=61)
    assert await status(served, signed_refresh(served, token, by=by(OLD))) == 200


@pytest.mark.parametrize("pem", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])
async def test_what_is_no_key_is_refused_and_the_session_stays(served: Served, pem: str) -> None:
    _, token = await enrolled(served)
    assert await status(served, signed_refresh(served, token, by=by(OLD), public_key=pem)) == 400
    assert await status(served, signed_refresh(served, token, by=by(OLD))) == 200


async def test_former_keys_are_forgotten_in_time_and_with_their_user(served: Served) -> None:
    app, token = await enrolled(served)
    db = served.gateway.db

    async def kept() -> int:
        return len(await db.read(lambda tx: tx.execute(former_keys_table.select()).all()))

    await status(served, signed_refresh(served, token, by=by(OLD), new_key=by(NEW)))
    assert await kept() == 1
    assert await db.write(lambda tx: former_keys.prune(tx, served.hands(), 10)) == 0
    assert await db.write(lambda tx: former_keys.prune(tx, served.hands() + 60_001, 10)) == 1
    served.hands.move(seconds=61)
    await status(served, signed_refresh(served, token, by=by(NEW), new_key=by(OTHER)))
    assert await kept() == 1
    assert await delete_user(db, app.app_id, ADA, served.hands())
    assert await kept() == 0
