"""What is told of logins: who enrolled on which device, for the first time or again; nothing of renewals."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from admit import clock
from admit.accounts import facts, session_opening, session_states
from admit.accounts.keys import PublicKey
from admit.accounts.session_opening import Opened, OpenSession
from admit.accounts.user_edits import UserChange
from admit.enrollment import visits
from admit.enrollment.admissions import Login
from admit.enrollment.creations import import_users, write_users
from admit.enrollment.visits import Arrival
from admit.errors import Refused
from admit.events.catalog import SignIn
from admit.signin.proof import CLIENT_ISSUER, Proof, Visit
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from tests.contract.test_door import FIRST_LOGIN, House, open_house, proof
from tests.receiver import always, receiving
from tests.residents import APP, NOW, events_of, key, login, move_in, person, start_app, told
from tests.statements import noticed

OWNER = "owner@example.com"
MAILED_CODE = SignIn(method="email_code", provider="email")
ENROLLMENT = ["device.enrolled", "session.started"]
ACTING = ["user.impersonated", "session.started"]


@pytest.fixture
async def house(database: Database, ring: KeyRing) -> AsyncIterator[House]:
    async with open_house(database, ring) as house:
        yield house


async def enroll(database: Database, *openings: OpenSession) -> list[Opened]:
    """Signs in, in one list, and has it recorded."""

    def unit(tx: Transaction) -> list[Opened]:
        outcomes = session_opening.open_or_renew(tx, openings)
        opened = [each for each in outcomes if isinstance(each, Opened)]
        for each in opened:
            facts.record_start(tx, each, MAILED_CODE, each.session.authenticated_at)
        return opened

    return await database.write(unit)


async def firsts(database: Database) -> list[tuple[bool, bool, int]]:
    """Of each device.enrolled: first_for_user, first_for_device, ordinal."""
    enrolled = [
        msgspec.json.decode(each.data) for each in await events_of(database) if each.type == "device.enrolled"
    ]
    return [
        (each["device"]["first_for_user"], each["device"]["first_for_device"], each["session"]["ordinal"])
        for each in enrolled
    ]


async def visit(house: House, **fields: Any) -> Login:
    visit = Visit(public_key=PublicKey("PEM", f"visitor-{fields}"), **fields)
    arrival = Arrival(app=house.app, visit=visit, now=NOW, refresh_until=NOW + clock.DAY_MS)
    login = await house.db.write(lambda tx: visits.arrive(tx, arrival))
    assert isinstance(login, Login)
    return login


async def create(house: House, **fields: Any) -> None:
    change = UserChange(**fields)
    await house.db.write(lambda tx: write_users(tx, house.app, [change], who="a test", now=NOW))


# Of a person's own logins


async def test_renewal_tells_nothing(house: House) -> None:
    await house.admit()
    before = await house.events()
    await house.admit()
    assert [kind for kind, _ in before] == FIRST_LOGIN
    assert await house.events() == before


async def test_second_device_is_the_first_of_its_own_but_not_of_the_user(house: House) -> None:
    first = await house.admit(device=1)
    second = await house.admit(device=2)
    assert first.session is not None
    assert second.session is not None
    (_, enrolled), (_, started) = (await house.events())[len(FIRST_LOGIN) :]
    assert enrolled == started
    assert enrolled["device"]["identifier"] == second.session.device_id
    assert (enrolled["device"]["first_for_user"], enrolled["device"]["first_for_device"]) == (False, True)
    assert enrolled["session"] == {"id": second.session.session_id, "ordinal": 1}
    assert "verdict" not in enrolled


async def test_device_that_enrolls_again_is_told_again_with_the_next_ordinal(database: Database) -> None:
    await start_app(database)
    ada = person()
    await move_in(database, ada)
    (first,) = await enroll(database, login(ada))
    await database.write(
        lambda tx: session_states.end(tx, APP, first.session.session_id, NOW + 1, "logged_out")
    )
    await enroll(database, login(ada, now=NOW + 2))
    await enroll(database, login(ada, now=NOW + 3, public_key=key("another")))

    assert await told(database) == [
        *ENROLLMENT,
        "session.ended",
        *ENROLLMENT,
        "session.ended",
        *ENROLLMENT,
    ]
    assert await firsts(database) == [(True, True, 1), (False, False, 2), (False, False, 3)]
    *_, second, ended, _, third = [
        (each, msgspec.json.decode(each.data)) for each in await events_of(database)
    ]
    assert (third[0].uid, third[0].occurred_at) == (ada.uid, NOW + 3)
    assert third[1]["device"]["first_seen"] == clock.iso_date(NOW)
    assert (ended[1]["session"]["id"], ended[1]["reason"]) == (second[1]["session"]["id"], "replaced")
    assert second[1]["session"]["previous"] == first.session.session_id
    assert third[1]["session"]["previous"] == second[1]["session"]["id"]
    assert "key_changed" not in second[1]["device"]
    assert third[1]["device"]["key_changed"] is True


async def test_twins_in_one_list_are_told_once_and_one_device_is_the_first(database: Database) -> None:
    await start_app(database)
    ada, bob = person("ada"), person("bob")
    await move_in(database, ada, bob)
    await enroll(database, login(bob))

    await enroll(
        database,
        *(login(ada, device_id=name) for name in ("laptop", "laptop", "phone")),
        login(bob),
        login(bob, device_id="phone"),
    )

    assert await told(database) == ENROLLMENT * 4
    assert await firsts(database) == [(True, True, 1), (True, True, 1), (False, True, 1), (False, True, 1)]


async def test_first_login_of_somebody_whom_the_api_has_created_is_the_first_for_the_user(
    house: House,
) -> None:
    await create(house, user_id="ada@example.com", type="prod")
    await house.admit()
    (kind, created), *logins = await house.events()
    assert (kind, set(created)) == ("user.enrolled", {"user", "verdict"})
    assert [kind for kind, _ in logins] == ENROLLMENT
    assert logins[0][1]["device"]["first_for_user"] is True


async def test_login_without_a_key_enrolls_on_no_device(house: House) -> None:
    vouched = Proof(
        method="client_credentials",
        issuer=CLIENT_ISSUER,
        subject="ada@example.com",
        user_id="ada@example.com",
        email="",
        email_verified=False,
    )
    await house.door.admit(house.app, vouched)
    await house.door.admit(house.app, vouched)
    [(kind, data)] = await house.events()
    assert (kind, set(data)) == ("user.enrolled", {"user", "sign_in", "verdict"})
    assert data["sign_in"] == {"method": "client_credentials", "provider": "client"}
    assert data["verdict"]["source"] == "eval"

    await house.admit()
    _, (told, updated), (first, enrolled), *_ = await house.events()
    assert (told, updated["changed"]) == ("user.updated", ["email"])  # now somebody has proven it
    assert (first, enrolled["device"]["first_for_user"]) == ("device.enrolled", True)


async def test_deactivated_person_at_the_door_is_told_to_nobody(house: House) -> None:
    await create(house, user_id="ada@example.com", type="prod", deactivated=True)
    before = await house.events()
    with pytest.raises(Refused):
        await house.admit()
    assert await house.events() == before


async def test_servers_that_enroll_many_devices_of_one_user_at_once_tell_one_first(
    postgres_url: str,
) -> None:
    servers = [Database(postgres_url) for _ in range(3)]
    await start_app(servers[0])
    ada = person()
    await move_in(servers[0], ada)

    await asyncio.gather(
        *(enroll(servers[turn % 3], login(ada, device_id=f"device{turn % 20}")) for turn in range(60))
    )

    assert await told(servers[0]) == ENROLLMENT * 20
    assert sorted(await firsts(servers[0])) == [(False, True, 1)] * 19 + [(True, True, 1)]
    # The first in the log is the one that says so.
    assert (await firsts(servers[0]))[0] == (True, True, 1)
    for server in servers:
        server.close()


async def test_renewals_look_nothing_up_for_events(database: Database) -> None:
    await start_app(database)
    ada, bob = person("ada"), person("bob")
    await move_in(database, ada, bob)
    await enroll(database, login(ada), login(bob))

    async def statements(*openings: OpenSession) -> list[str]:
        executed: list[str] = []

        def unit(tx: Transaction) -> None:
            with noticed(lambda _connection, statement, _parameters: executed.append(statement)):
                for opened in session_opening.open_or_renew(tx, openings):
                    assert isinstance(opened, Opened)
                    facts.record_start(tx, opened, MAILED_CODE, NOW)

        await database.write(unit)
        return executed

    renewals = await statements(login(ada), login(bob))
    openings = await statements(login(ada, device_id="phone"), login(bob, device_id="phone"))
    assert [each for each in renewals if "EXISTS" in each] == []
    assert len([each for each in openings if "EXISTS" in each]) == 1


# Of those who are not let in, or let in by others


async def test_refusal_tells_whom_how_and_why_and_nothing_personal(house: House) -> None:
    async with receiving(always(ok=True, action="reject")) as receiver:
        await house.ask(receiver)
        with pytest.raises(Refused):
            await house.door.admit(house.app, replace(proof("eve"), name="Eve"))
    [row] = await house.ledger()
    assert await house.events() == [
        (
            "user.refused",
            {
                "user": {"user_id": "eve@example.com"},
                "sign_in": {"method": "email_code", "provider": "email"},
                "verdict": {
                    "type": "refused",
                    "source": "webhook",
                    "admission_id": row.admission_id,
                    "code": "USER_NOT_ACCEPTED",
                },
            },
        )
    ]


async def test_imported_person_is_told_as_imported_in_the_log_and_in_the_ledger(house: House) -> None:
    changes = [UserChange(user_id="ada@example.com", type="prod")]
    await house.db.write(lambda tx: import_users(tx, house.app, changes, who="an import", now=NOW))
    [(kind, data)], [row] = await house.events(), await house.ledger()
    assert (kind, set(data)) == ("user.enrolled", {"user", "verdict"})
    assert data["verdict"] == {"type": "prod", "source": "import", "admission_id": row.admission_id}
    assert (row.method, row.policy) == ("api", "import")


# Of visits


async def test_owner_who_acts_starts_a_session_and_enrolls_nobody(house: House) -> None:
    await create(house, user_id="ada@example.com", type="prod")
    login = await visit(house, method="acting", user_ids=("ada@example.com",), actor=OWNER)
    await visit(house, method="acting", user_ids=("ada@example.com",), actor=OWNER)
    assert login.session is not None
    (impersonated, data), (started, same) = (await house.events())[1:]
    assert [impersonated, started] == ACTING
    assert data == same
    assert data["actor"] == OWNER
    assert data["session"] == {"id": login.session.session_id, "ordinal": 1}
    assert set(data["device"]) == {"identifier", "derived", "first_seen"}
    assert data["sign_in"] == {"method": "acting", "provider": "email"}

    await house.admit()
    own = (await house.events())[3][1]
    assert (own["device"]["first_for_user"], own["device"]["first_for_device"]) == (True, True)


async def test_person_who_follows_an_owner_on_the_same_device_is_the_first_there(
    database: Database,
) -> None:
    await start_app(database)
    ada, bob = person("ada"), person("bob")
    await move_in(database, ada, bob)
    await enroll(database, login(ada, actor=OWNER))
    await enroll(database, login(ada), login(ada, device_id="phone"))
    await enroll(database, login(bob, actor=OWNER), login(bob))

    assert await told(database) == [*ACTING, *ENROLLMENT, *ENROLLMENT, *ACTING, *ENROLLMENT]
    assert [first for first, _, _ in await firsts(database)] == [True, False, True]


async def test_demo_visitor_is_told_as_one(house: House) -> None:
    await create(house, user_id="alice@demo.local", type="demo")
    await visit(house, method="demo", user_ids=("alice@demo.local",))
    created, *logins = await house.events()
    assert created[1]["verdict"]["type"] == "demo"
    assert [kind for kind, _ in logins] == ENROLLMENT
    assert logins[0][1]["sign_in"] == {"method": "demo", "provider": "demo"}
    assert logins[0][1]["user"]["type"] == "demo"
