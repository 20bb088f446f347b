"""First logins through the one way in: races, crashes and lies, on both databases, with a real endpoint."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from admit import clock
from admit.accounts import policies, users
from admit.accounts import tables as accounts
from admit.accounts.apps import App, PolicySetting, create_app, load_app
from admit.accounts.keys import PublicKey
from admit.enrollment import admissions, ledger, settlements
from admit.enrollment.admissions import Login, Opened
from admit.enrollment.admit import Door
from admit.enrollment.entries import Entry
from admit.enrollment.ledger import LedgerRow
from admit.enrollment.policy import Admit
from admit.enrollment.settlements import Late, Settlement
from admit.errors import (
    USER_DEACTIVATED,
    USER_NOT_ACCEPTED,
    USER_NOT_REGISTERED,
    WEBHOOK_ERROR,
    AdmitError,
    Refused,
    Unavailable,
)
from admit.events import log as events
from admit.outbound.addresses import EgressPolicy
from admit.outbound.http import HttpClient
from admit.signin.proof import EMAIL_ISSUER, Intent, Proof
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from tests.receiver import PROD, Receiver, always, in_turn, receiving

DAY_MS = clock.DAY_MS
FIRST_LOGIN = ["user.enrolled", "device.enrolled", "session.started"]


@dataclass
class House:
    """A door with what it stands in."""

    db: Database
    ring: KeyRing
    http: HttpClient
    door: Door
    app: App

    async def choose(self, policy: PolicySetting) -> None:
        """Sets the policy of the app."""

        def unit(tx: Transaction) -> App | None:
            policies.set_policy(tx, self.app.app_id, policy, clock.now())
            return load_app(tx, self.ring, self.app.name)

        app = await self.db.write(unit)
        assert app is not None
        self.app = app

    async def ask(self, receiver: Receiver, **rules: Any) -> None:
        """Sets the web hook policy."""
        await self.choose(PolicySetting(kind="webhook", url=receiver.url, **rules))

    async def admit(self, name: str = "ada", *, device: int = 1, intent: Intent = "") -> Login:
        return await self.door.admit(self.app, proof(name, device=device, intent=intent))

    async def ledger(self) -> list[LedgerRow]:
        return await self.db.read(lambda tx: ledger.page(tx, self.app.app_id, ledger.Query(), None, 500).rows)

    async def count(self, table: Any) -> int:
        return await self.db.read(lambda tx: tx.execute(select(func.count()).select_from(table)).scalar_one())

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        query = select(events.events.c.type, events.events.c.data).order_by(events.events.c.position)
        rows = await self.db.read(lambda tx: tx.execute(query).all())
        return [(row.type, msgspec.json.decode(row.data)) for row in rows]


def proof(name: str = "ada", *, device: int = 1, intent: Intent = "", email: str | None = None) -> Proof:
    address = f"{name}@example.com"
    thumbprint = base64.urlsafe_b64encode(device.to_bytes(32, "big")).rstrip(b"=").decode()
    return Proof(
        method="email_code",
        issuer=EMAIL_ISSUER,
        subject=address,
        user_id=address,
        email=address if email is None else email,
        email_verified=email is None,
        intent=intent,
        public_key=PublicKey(f"PEM {device}", thumbprint),
    )


@asynccontextmanager
async def open_house(database: Database, ring: KeyRing) -> AsyncIterator[House]:
    app = await database.write(
        lambda tx: create_app(
            tx, ring, name="notes", owner="owner@example.com", user_ids="email", now=clock.now()
        )
    )
    assert isinstance(app, App)
    async with open_door(database, ring) as (http, door):
        yield House(database, ring, http, door, app)


@asynccontextmanager
async def open_door(database: Database, ring: KeyRing) -> AsyncIterator[tuple[HttpClient, Door]]:
    http = HttpClient(EgressPolicy.parse("127.0.0.1"))
    door = Door(database, ring, http, clock.now, 180 * DAY_MS)
    yield http, door
    await door.close()
    await http.close()


@pytest.fixture
async def house(database: Database, ring: KeyRing) -> AsyncIterator[House]:
    async with open_house(database, ring) as house:
        yield house


@pytest.fixture
async def two_nodes(postgres_url: str, ring: KeyRing) -> AsyncIterator[tuple[House, Door]]:
    """A house and a second door on the same PostgreSQL, with writer and signals of its own."""
    here, there = Database(postgres_url), Database(postgres_url)
    for each in (here, there):
        each.signals.attach(asyncio.get_running_loop())
    async with open_house(here, ring) as house, open_door(there, ring) as (_, door):
        yield house, door
    here.close()
    there.close()


async def refused(login: Awaitable[Login]) -> AdmitError:
    with pytest.raises(AdmitError) as caught:
        await login
    return caught.value


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)


# What a verdict means


async def test_an_admitted_person_lives_here_with_everything_in_one_commit(house: House) -> None:
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        login = await house.admit()
    assert login.session is not None
    assert login.user.user_id == "ada@example.com"
    assert (login.user.type, login.user.name) == ("prod", "Ada Example")
    assert login.user.data is not None
    assert msgspec.json.decode(login.user.data) == PROD["userData"]
    for table in (accounts.users, accounts.identities, accounts.devices, accounts.sessions):
        assert await house.count(table) == 1
    [row] = await house.ledger()
    assert (row.verdict, row.policy, row.method, row.attempts) == ("prod", "webhook", "email_code", 1)
    assert row.uid == login.user.uid
    told = await house.events()
    assert [kind for kind, _ in told] == FIRST_LOGIN
    enrolled = told[0][1]
    assert enrolled["verdict"] == {
        "type": "prod",
        "source": "webhook",
        "admission_id": row.admission_id,
    }
    for _, data in told:
        assert data["user"] == {
            "uid": login.user.uid,
            "user_id": "ada@example.com",
            "type": "prod",
            "email": "ada@example.com",
            "name": "Ada Example",
            "data": PROD["userData"],
        }
        assert data["device"] == {
            "identifier": login.session.device_id,
            "derived": True,
            "first_seen": clock.iso_date(login.session.created_at),
            "first_for_user": True,
            "first_for_device": True,
        }
        assert data["session"] == {"id": login.session.session_id, "ordinal": 1}
        assert data["sign_in"] == {"method": "email_code", "provider": "email"}
    assert [set(data) - set(enrolled) for _, data in told] == [set(), set(), set()]


async def test_a_second_login_asks_nobody_and_renews_the_session(house: House) -> None:
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        first = await house.admit()
        again = await house.admit()
    assert len(receiver.calls) == 1
    assert first.session is not None
    assert again.session is not None
    assert again.session.session_id == first.session.session_id
    assert len(await house.ledger()) == 1


async def test_a_refused_person_leaves_only_a_ledger_row_and_an_event(house: House) -> None:
    async with receiving(always(ok=True, action="reject")) as receiver:
        await house.ask(receiver)
        error = await refused(house.admit())
        again = await refused(house.admit())
    assert error.code == again.code == USER_NOT_ACCEPTED
    assert len(receiver.calls) == 2, "nothing is remembered: the next login asks again"
    assert await house.count(accounts.users) == 0
    assert [kind for kind, _ in await house.events()] == ["user.refused"] * 2


async def test_a_failing_hook_keeps_people_out_and_the_ledger_names_the_fault(house: House) -> None:
    async with receiving(always(500)) as receiver:
        await house.ask(receiver)
        error = await refused(house.admit())
    assert error.code == WEBHOOK_ERROR
    assert "500" not in error.message
    [row] = await house.ledger()
    assert "status 500" in row.reason
    assert row.code == WEBHOOK_ERROR


async def test_a_failing_hook_degrades_to_eval_where_the_app_wants_it(house: House) -> None:
    async with receiving(always(500)) as receiver:
        await house.ask(receiver, on_failure="eval")
        login = await house.admit()
    assert login.user.type == "eval"
    [row] = await house.ledger()
    assert "hook failed" in row.reason


async def test_the_endpoints_email_is_shown_and_never_verified_nor_looked_up(house: House) -> None:
    told: dict[str, Any] = {"ok": True, "action": "prod", "userData": {"email": "owner@example.com"}}
    async with receiving(always(**told)) as receiver:
        await house.ask(receiver)
        stranger = await house.door.admit(house.app, proof("sub-1", email=""))
        owner = await house.admit("owner")
    assert (stranger.user.email, stranger.user.email_verified) == ("owner@example.com", False)
    assert owner.user.uid != stranger.user.uid


async def test_intent_login_of_a_stranger_asks_nobody(house: House) -> None:
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        error = await refused(house.admit(intent="login"))
    assert error.code == USER_NOT_REGISTERED
    assert receiver.calls == []


async def test_a_deactivated_person_is_told_so(house: House) -> None:
    login = await house.admit()
    await house.db.write(
        lambda tx: tx.execute(
            accounts.users.update().where(accounts.users.c.uid == login.user.uid).values(deactivated_at=1)
        )
    )
    assert (await refused(house.admit())).code == USER_DEACTIVATED


# Rivals


async def test_fifty_first_logins_at_once_ask_once_and_share_the_verdict(house: House) -> None:
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        logins = await asyncio.gather(*(house.admit(device=device) for device in range(1, 51)))
    assert len(receiver.calls) == 1
    assert len({login.user.uid for login in logins}) == 1
    assert len({login.session.session_id for login in logins if login.session}) == 50
    told = await house.events()
    assert [kind for kind, _ in told[:3]] == FIRST_LOGIN
    assert [kind for kind, _ in told[3:]] == FIRST_LOGIN[1:] * 49
    first = [data["device"]["first_for_user"] for kind, data in told if kind == "device.enrolled"]
    assert first == [True] + [False] * 49
    assert len(await house.ledger()) == 1


async def test_fifty_rivals_share_a_refusal(house: House) -> None:
    async with receiving(always(ok=True, action="reject"), held=True) as receiver:
        await house.ask(receiver)
        rivals = [asyncio.create_task(refused(house.admit(device=device))) for device in range(1, 51)]
        await receiver.arrived.wait()
        receiver.gate.set()
        errors = await asyncio.gather(*rivals)
    assert {error.code for error in errors} == {USER_NOT_ACCEPTED}
    assert len(receiver.calls) == 1


async def test_rivals_on_two_nodes_ask_once(two_nodes: tuple[House, Door]) -> None:
    house, other = two_nodes
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        doors = [house.door, other] * 20
        logins = await asyncio.gather(
            *(door.admit(house.app, proof(device=number)) for number, door in enumerate(doors, 1))
        )
    assert len(receiver.calls) == 1
    assert len({login.user.uid for login in logins}) == 1
    assert await house.count(accounts.users) == 1


async def test_a_refusal_reaches_who_waits_on_another_node_with_its_words(
    two_nodes: tuple[House, Door],
) -> None:
    house, other = two_nodes
    async with receiving(always(ok=True, action="reject"), held=True) as receiver:
        await house.ask(receiver)
        here = asyncio.create_task(refused(house.admit()))
        await receiver.arrived.wait()
        there = asyncio.create_task(refused(other.admit(house.app, proof(device=2))))
        await asyncio.sleep(0.1)
        receiver.gate.set()
        errors = await asyncio.gather(here, there)
    assert {(error.code, error.message) for error in errors} == {(errors[0].code, errors[0].message)}
    assert isinstance(errors[1], Refused)
    assert len(receiver.calls) == 1


async def test_who_hangs_up_does_not_cancel_the_decision_for_others(house: House) -> None:
    async with receiving(always(**PROD), held=True) as receiver:
        await house.ask(receiver)
        impatient = asyncio.create_task(house.admit(device=1))
        await receiver.arrived.wait()
        patient = asyncio.create_task(house.admit(device=2))
        await asyncio.sleep(0.05)
        impatient.cancel()
        receiver.gate.set()
        login = await patient
    assert login.user.user_id == "ada@example.com"
    assert len(receiver.calls) == 1


async def test_people_do_not_wait_for_each_other(house: House) -> None:
    async with receiving(always(**PROD), held=True) as receiver:
        await house.ask(receiver)
        logins = [asyncio.create_task(house.admit(f"person{number}")) for number in range(10)]

        async def all_asked() -> bool:
            return len(receiver.calls) == 10

        await eventually(all_asked)
        receiver.gate.set()
        await asyncio.gather(*logins)


async def test_at_most_64_calls_at_once_and_the_others_are_told_when_to_come_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admit.enrollment.asking.PLACE_WAIT_SECONDS_MAX", 0.2)
    async with receiving(always(**PROD), held=True) as receiver:
        await house.ask(receiver)
        logins = [asyncio.create_task(house.admit(f"person{number}")) for number in range(70)]
        done, waiting = await asyncio.wait(logins, timeout=2)
        assert len(receiver.calls) == 64
        assert len(done) == 6
        for each in done:
            error = each.exception()
            assert isinstance(error, Unavailable)
            assert error.retry_after_seconds > 0
        receiver.gate.set()
        await asyncio.gather(*waiting)
        late = await house.admit("person69")
    assert late.user.user_id == "person69@example.com"
    assert len(await house.ledger()) == 70, "who was sent away resumes the same admission"


async def test_a_user_created_meanwhile_by_the_api_is_not_created_twice(house: House) -> None:
    async with receiving(always(**PROD), held=True) as receiver:
        await house.ask(receiver)
        login = asyncio.create_task(house.admit())
        await receiver.arrived.wait()
        created = users.new_user(
            app_id=house.app.app_id,
            user_id="ada@example.com",
            email="ada@example.com",
            email_verified=False,
            name="",
            type="eval",
            data=None,
            eval_days=30,
            way_in="api",
            now=clock.now(),
        )
        await house.db.write(lambda tx: users.create(tx, [users.NewUser(created)]))
        receiver.gate.set()
        result = await login
    assert result.user.uid == created.uid
    assert result.user.type == "eval", "what the operator has written stands"
    assert result.session is not None


# Crashes: somebody decided, and died


async def orphan(house: House, receiver_url: str, *, lease_until: int) -> Opened:
    """An admission that a process opened before it died."""
    entry = entry_for(house, lease_until=lease_until)
    entered = await house.db.write_together(admissions.enter, entry)
    assert isinstance(entered, Opened)
    return entered


def entry_for(house: House, *, lease_until: int) -> Entry:
    return Entry(
        app=house.app,
        proof=proof(),
        admission_id=clock.new_id("adm"),
        input_digest="",
        now=clock.now(),
        lease_until=lease_until,
        refresh_until=clock.now() + DAY_MS,
    )


async def test_an_abandoned_admission_is_resumed_under_the_same_id_once_its_lease_ends(house: House) -> None:
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        left = await orphan(house, receiver.url, lease_until=clock.now() + 300)
        login = await house.admit()
    assert login.user.type == "prod"
    assert [call.headers["webhook-id"] for call in receiver.calls] == [left.admission_id]
    [row] = await house.ledger()
    assert row.admission_id == left.admission_id


async def test_leases_left_by_a_crash_are_released_at_start(house: House) -> None:
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        left = await orphan(house, receiver.url, lease_until=clock.now() + 60_000)
        await house.db.write(admissions.release_all)
        async with asyncio.timeout(3):
            await house.admit()
    assert [call.headers["webhook-id"] for call in receiver.calls] == [left.admission_id]


async def test_ten_who_resume_an_abandoned_admission_ask_once(house: House) -> None:
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        await orphan(house, receiver.url, lease_until=clock.now() - 1)
        logins = await asyncio.gather(*(house.admit(device=device) for device in range(1, 11)))
    assert len(receiver.calls) == 1
    assert len({login.user.uid for login in logins}) == 1


async def test_a_verdict_behind_a_higher_fence_is_noted_and_changes_nothing(house: House) -> None:
    async with receiving(always(ok=True, action="reject")) as receiver:
        await house.ask(receiver)
        entry = entry_for(house, lease_until=clock.now() - 1)
        sleeper = await house.db.write_together(admissions.enter, entry)
        assert isinstance(sleeper, Opened)
        await refused(house.admit())
        settlement = Settlement(
            entry=entry,
            opened=sleeper,
            verdict=Admit(type="prod", reason="too late"),
            attempts=1,
            latency_ms=1,
            now=clock.now(),
        )
        assert await house.db.write_together(settlements.settle, settlement) == Late()
    assert await house.count(accounts.users) == 0
    [row] = await house.ledger()
    assert (row.verdict, row.late) == ("refused", "prod")


async def test_settling_twice_settles_once(house: House) -> None:
    entry = entry_for(house, lease_until=clock.now() + 10_000)
    opened = await house.db.write_together(admissions.enter, entry)
    assert isinstance(opened, Opened)
    settlement = Settlement(
        entry=entry,
        opened=opened,
        verdict=Admit(type="prod", reason=""),
        attempts=0,
        latency_ms=0,
        now=clock.now(),
    )
    first = await house.db.write_together(settlements.settle, settlement)
    second = await house.db.write_together(settlements.settle, settlement)
    assert isinstance(first, Login)
    assert second == Late()
    assert await house.count(accounts.users) == 1
    assert [kind for kind, _ in await house.events()] == FIRST_LOGIN


async def test_the_next_answer_counts_after_a_hook_that_failed(house: House) -> None:
    async with receiving(in_turn(always(500), always(**PROD))) as receiver:
        await house.ask(receiver)
        assert (await refused(house.admit())).code == WEBHOOK_ERROR
        login = await house.admit()
    assert login.user.type == "prod"
    assert [row.verdict for row in await house.ledger()] == ["prod", "refused"]
