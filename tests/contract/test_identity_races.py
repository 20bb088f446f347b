"""What meets single sign-on at the same moment: a deletion, a backend without a proof, another rule."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import select

from admit import clock
from admit.accounts import email_proofs, user_deletion
from admit.accounts import tables as accounts
from admit.accounts.app_settings import PolicySetting
from admit.accounts.session_moves import move
from admit.errors import Refused
from admit.events import subscriptions
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from tests.contract.sso_desk import sso_desk
from tests.contract.test_door import House, open_house
from tests.contract.test_door import proof as mailed
from tests.contract.test_identities import at_google, by_backend, choose_for, come, identities, user_of
from tests.receiver import always, receiving


@pytest.fixture
async def house(database: Database, ring: KeyRing) -> AsyncIterator[House]:
    async with open_house(database, ring) as house:
        yield house


@pytest.fixture
async def two_servers(postgres_url: str, ring: KeyRing) -> AsyncIterator[tuple[House, Database]]:
    """A house, and another server's way to the same PostgreSQL."""
    here, there = Database(postgres_url), Database(postgres_url)
    for each in (here, there):
        each.signals.attach(asyncio.get_running_loop())
    async with open_house(here, ring) as house:
        yield house, there
    for each in (here, there):
        each.close()


class Held:
    """A step of a unit that waits, in its own thread, until it may go on."""

    def __init__(self, step: Callable[..., Any]) -> None:
        self._step = step
        self._reached = threading.Event()
        self._may_go_on = threading.Event()

    def __call__(self, *given: Any, **named: Any) -> Any:
        self._reached.set()
        assert self._may_go_on.wait(20)
        return self._step(*given, **named)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 20)

    def let_go(self) -> None:
        self._may_go_on.set()


async def waits_for_a_lock(database: Database) -> None:
    """Returns once a statement of somebody waits for a row that another holds."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    for _ in range(500):
        found = await database.read(lambda tx: tx.connection.exec_driver_sql(waiting).scalar_one())
        if found:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nobody waits")


async def test_person_deleted_while_they_sign_in_comes_back_as_somebody_new(
    two_servers: tuple[House, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, there = two_servers
    former = await house.door.admit(house.app, mailed("ada"))
    held = Held(subscriptions.forget_person)
    monkeypatch.setattr(subscriptions, "forget_person", held)
    deleting = asyncio.create_task(
        user_deletion.delete_user(there, house.app.app_id, "ada@example.com", clock.now())
    )
    await held.reached()
    coming = asyncio.create_task(come(house, at_google()))
    await waits_for_a_lock(there)
    held.let_go()
    assert await deleting
    login = await coming
    assert login.user.uid != former.user.uid
    assert {uid for _, _, uid in await identities(house)} == {login.user.uid}
    assert (await come(house, at_google())).user.uid == login.user.uid


async def test_login_without_a_proof_that_meets_the_owner_is_refused(
    two_servers: tuple[House, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, there = two_servers
    first = await by_backend(house, verified=False)
    held = Held(move)
    monkeypatch.setattr("admit.accounts.email_proofs.move", held)
    proving = asyncio.create_task(email_proofs.prove(there, first.user, "ada@example.com", clock.now()))
    await held.reached()
    coming = asyncio.create_task(by_backend(house, verified=False, device="thief2"))
    await waits_for_a_lock(there)
    held.let_go()
    await proving
    with pytest.raises(Refused) as refusal:
        await coming
    assert refusal.value.code == "EMAIL_NOT_VERIFIED"
    assert await enrolled(house) == 0


@pytest.mark.parametrize("told", ["", "eve@evil.example"])
async def test_another_email_changes_nothing_about_the_address(house: House, told: str) -> None:
    thief = await by_backend(house, verified=False, email=told)
    owner = await house.door.admit(house.app, mailed("ada"))
    assert owner.user.uid == thief.user.uid
    assert await enrolled(house) == 1
    user = await user_of(house)
    assert (user.email, user.email_verified) == ("ada@example.com", True)
    with pytest.raises(Refused) as refusal:
        await by_backend(house, verified=False, email=told)
    assert refusal.value.code == "EMAIL_NOT_VERIFIED"


async def test_refusal_by_the_rule_of_another_way_in_is_not_shared(house: House) -> None:
    async with receiving(always(ok=False, action="reject"), held=True) as receiver:
        await house.ask(receiver)
        await choose_for(house, "google", PolicySetting(kind="prod"))
        by_code = asyncio.create_task(house.door.admit(house.app, mailed("ada")))
        await receiver.arrived.wait()
        by_google = asyncio.create_task(come(house, at_google()))
        await asyncio.sleep(0.2)  # it has joined the admission that is open
        receiver.gate.set()
        with pytest.raises(Refused):
            await by_code
        assert (await by_google).user.type == "prod"


async def test_token_without_a_proof_ends_when_the_owner_comes(served_url: str) -> None:
    async with sso_desk(served_url) as desk:
        client = await desk.served.client(desk.app)
        answer = await desk.post(
            {
                "grant_type": "client_credentials",
                "client_id": client.client_id,
                "client_secret": client.client_secret,
                "scopes": ["ACCESS_DB"],
                "claims": {"sub": "ada@example.com", "email_verified": False},
                "expires_in": "30d",
            },
            origin=None,
        )
        bearer = {"Authorization": f"Bearer {answer.json['accessToken']}"}
        assert "unproven" not in answer.json["claims"]
        before = await desk.served.ask("GET", "/notes/token/validate", headers=bearer)
        owner = await desk.exchange((await desk.returned())["code"])
        after = await desk.served.ask("GET", "/notes/token/validate", headers=bearer)
    assert (before.status, owner.status) == (200, 200)
    assert (after.status, after.json["code"]) == (401, "reauthentication_required")


async def enrolled(house: House) -> int:
    """How many sessions go on."""
    return await house.count(
        select(accounts.sessions).where(accounts.sessions.c.state == "ENROLLED").subquery()
    )
