"""Who is linked to whom is told, shown and can be undone; and the ledger forgets those who never came in."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import select

from admit.accounts import identities, users
from admit.accounts.app_settings import PolicySetting
from admit.accounts.apps import App
from admit.cli.failures import Exit
from admit.clock import DAY_MS
from admit.enrollment import departures
from admit.enrollment.departures import delete_person
from admit.enrollment.tables import admissions
from admit.errors import Conflict
from admit.events.catalog import SignIn
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from tests.commands import Runner
from tests.contract.command_line import CommandLine
from tests.contract.served import Answered, Served
from tests.contract.test_admin_api import operator_token
from tests.contract.test_door import House, open_house
from tests.contract.test_door import proof as mailed
from tests.contract.test_identities import GOOGLE, at_google, by_backend, come, refused
from tests.contract.test_identities import identities as all_identities

ADA = "ada@example.com"
LINKED, UNLINKED = "user.identity_linked", "user.identity_unlinked"
NOW = 1_795_337_113_123


@pytest.fixture
async def house(database: Database, ring: KeyRing) -> AsyncIterator[House]:
    async with open_house(database, ring) as house:
        yield house


async def told(house: House, event_type: str) -> list[dict[str, Any]]:
    return [data for type, data in await house.events() if type == event_type]


async def unlink(house: House, uid: str, subject: str = "g-1", issuer: str = GOOGLE.issuer) -> bool:
    unit = partial(
        identities.unlink, app_id=house.app.app_id, uid=uid, issuer=issuer, subject=subject, now=NOW
    )
    return await house.db.write(unit)


async def of_user(house: House, uid: str) -> list[tuple[str, str]]:
    found = await house.db.read(lambda tx: identities.of_user(tx, house.app.app_id, uid))
    return [(each.issuer, each.subject) for each in found]


async def test_who_lives_here_and_comes_by_a_provider_is_linked_and_that_is_told_once(house: House) -> None:
    ada = await house.door.admit(house.app, mailed("ada"))
    for device in ("laptop", "phone"):
        await come(house, at_google(), device=device)
    (event,) = await told(house, LINKED)
    assert event == {
        "user": {"uid": ada.user.uid, "user_id": ADA, "type": ada.user.type, "email": ADA},
        "identity": {"issuer": GOOGLE.issuer, "subject": "g-1"},
        "sign_in": {"method": "sso", "provider": "google"},
    }
    assert await of_user(house, ada.user.uid) == [("email", ADA), (GOOGLE.issuer, "g-1")]


async def test_whom_a_provider_has_brought_is_told_by_their_enrollment_alone(house: House) -> None:
    login = await come(house, at_google())
    await house.door.admit(house.app, mailed("ada"))
    assert await told(house, LINKED) == []
    assert await of_user(house, login.user.uid) == [(GOOGLE.issuer, "g-1")]


async def test_ten_logins_at_once_link_once(house: House) -> None:
    await house.door.admit(house.app, mailed("ada"))
    logins = await asyncio.gather(*(come(house, at_google(), device=f"d{number}") for number in range(10)))
    assert len({login.user.uid for login in logins}) == 1
    assert len(await told(house, LINKED)) == 1


async def test_two_logins_of_one_unit_link_once(house: House) -> None:
    ada = await house.door.admit(house.app, mailed("ada"))
    key = house.app.app_id, GOOGLE.issuer, "g-1"
    sign_in = SignIn(method="sso", provider="google")

    def link(tx: Transaction) -> list[bool]:
        user = users.by_uid(tx, [(house.app.app_id, ada.user.uid)], lock=True)[key[0], ada.user.uid]
        twice = [(key, user, sign_in), (key, user, sign_in)]
        return identities.link(tx, twice, NOW) + identities.link(tx, twice, NOW)

    assert await house.db.write(link) == [True] * 4
    assert len(await told(house, LINKED)) == 1


async def test_link_that_leads_to_somebody_else_is_not_told(house: House) -> None:
    await house.door.admit(house.app, mailed("ada"))
    await come(house, at_google())
    bob = await house.door.admit(house.app, mailed("bob"))
    key = house.app.app_id, GOOGLE.issuer, "g-1"

    def link(tx: Transaction) -> list[bool]:
        return identities.link(tx, [(key, bob.user, SignIn(method="sso", provider="google"))], NOW)

    assert await house.db.write(link) == [False]
    assert len(await told(house, LINKED)) == 1


async def test_unlinked_identity_leads_to_nobody_and_can_be_linked_again(house: House) -> None:
    ada = await house.door.admit(house.app, mailed("ada"))
    await come(house, at_google())

    assert await unlink(house, ada.user.uid)

    (event,) = await told(house, UNLINKED)
    assert event["identity"] == {"issuer": GOOGLE.issuer, "subject": "g-1"}
    assert event["user"]["uid"] == ada.user.uid
    assert await of_user(house, ada.user.uid) == [("email", ADA)]
    assert await refused(house, at_google(email_trusted=False)) == "EMAIL_NOT_TRUSTED"
    assert (await come(house, at_google())).user.uid == ada.user.uid
    assert len(await told(house, LINKED)) == 2


async def test_unlinking_twice_is_unlinking_once(house: House) -> None:
    ada = await house.door.admit(house.app, mailed("ada"))
    await come(house, at_google())
    assert sorted(await asyncio.gather(*(unlink(house, ada.user.uid) for _ in range(5)))) == [False] * 4 + [
        True
    ]
    assert len(await told(house, UNLINKED)) == 1


async def test_identity_of_somebody_else_is_not_unlinked(house: House) -> None:
    await house.door.admit(house.app, mailed("ada"))
    bob = await house.door.admit(house.app, mailed("bob"))
    await come(house, at_google())
    assert not await unlink(house, bob.user.uid)
    assert not await unlink(house, "usr_nobody")
    assert await told(house, UNLINKED) == []
    assert (GOOGLE.issuer, "g-1") in {each[:2] for each in await all_identities(house)}


async def test_what_says_the_user_id_once_more_cannot_be_unlinked(house: House) -> None:
    ada = await house.door.admit(house.app, mailed("ada"))
    bob = await by_backend(house, verified=None, device="bob")
    assert bob.user.uid == ada.user.uid
    for issuer in ("email", "client"):
        with pytest.raises(Conflict) as refusal:
            await unlink(house, ada.user.uid, ADA, issuer)
        assert refusal.value.code == "identity_of_user_id"
    assert await of_user(house, ada.user.uid) == [("email", ADA)]


async def test_sessions_go_on_when_an_identity_is_unlinked(house: House) -> None:
    await house.door.admit(house.app, mailed("ada"))
    login = await come(house, at_google())
    before = await house.events()
    await unlink(house, login.user.uid)
    assert [type for type, _ in await house.events()][len(before) :] == [UNLINKED]


async def test_subjects_are_erased_with_their_person(house: House) -> None:
    ada = await house.door.admit(house.app, mailed("ada"))
    await come(house, at_google("Ada at Google"))
    await unlink(house, ada.user.uid, "Ada at Google")
    await delete_person(house.db, house.app.app_id, ADA, NOW)
    for event_type in (LINKED, UNLINKED):
        (event,) = await told(house, event_type)
        assert event["identity"] == {"issuer": GOOGLE.issuer}
        assert "email" not in event["user"]
    assert "Ada at Google" not in str(await house.events())


# The admin API


async def api(served: Served, method: str, path: str, token: str | None = None, **query: str) -> Answered:
    headers = served.command() if token is None else {"Authorization": f"Bearer {token}"}
    return await served.ask(method, f"/api/apps/notes/users/{path}", headers=headers, params=query)


ITS = {"issuer": GOOGLE.issuer, "subject": "a/b c@d?é&x=1"}


@pytest.fixture
async def known(served: Served) -> App:
    """An app in which ada, who was written by a program, is linked."""
    app = await served.app()
    await served.write(app, {"userId": ADA, "type": "prod"}, {"userId": "bob@example.com", "type": "prod"})
    key = app.app_id, ADA

    def link(tx: Transaction) -> None:
        user = users.by_user_id(tx, [key], lock=True)[key]
        identity = app.app_id, ITS["issuer"], ITS["subject"]
        sign_in = SignIn(method="sso", provider="google")
        assert identities.link(tx, [(identity, user, sign_in)], served.hands()) == [True]

    await served.gateway.db.write(link)
    return app


async def test_identities_are_listed_and_unlinked(served: Served, known: App) -> None:
    listed = await api(served, "GET", f"{ADA}/identities")
    ((linked_at, identity),) = [(each.pop("linked_at"), each) for each in listed.json["identities"]]
    assert (identity, served.hands() - linked_at < DAY_MS) == ({**ITS, "unlinkable": True}, True)
    gone = await api(served, "DELETE", f"{ADA}/identities", **ITS)
    assert (gone.status, gone.body) == (204, b"")
    assert (await api(served, "GET", f"{ADA}/identities")).json == {"identities": []}
    again = await api(served, "DELETE", f"{ADA}/identities", **ITS)
    assert (again.status, again.json["code"]) == (404, "identity_not_found")


async def test_what_cannot_be_unlinked_is_said(served: Served, known: App) -> None:
    for path, query, status, code in (
        ("nobody/identities", ITS, 404, "user_not_found"),
        ("bob@example.com/identities", ITS, 404, "identity_not_found"),
        (f"{ADA}/identities", {"issuer": "email", "subject": ADA}, 409, "identity_of_user_id"),
        (f"{ADA}/identities", {"issuer": ITS["issuer"]}, 400, "invalid_request"),
        (f"{ADA}/identities", {}, 400, "invalid_request"),
    ):
        answer = await api(served, "DELETE", path, **query)
        assert (answer.status, answer.json["code"]) == (status, code)
    assert (await api(served, "GET", "nobody/identities")).json["code"] == "user_not_found"
    assert len((await api(served, "GET", f"{ADA}/identities")).json["identities"]) == 1


async def test_reading_people_is_not_unlinking_them(served: Served, known: App) -> None:
    reader = await operator_token(served, "users:read")
    stranger = await operator_token(served, "apps:read")
    assert (await api(served, "GET", f"{ADA}/identities", reader)).status == 200
    assert (await api(served, "GET", f"{ADA}/identities", stranger)).status == 403
    assert (await api(served, "DELETE", f"{ADA}/identities", reader, **ITS)).status == 403
    writer = await operator_token(served, "users:write")
    assert (await api(served, "DELETE", f"{ADA}/identities", writer, **ITS)).status == 204


# The commands


async def test_commands_list_and_unlink(served: Served, known: App, runner: Runner, tmp_path: Path) -> None:
    token = await operator_token(served, "users:read", "users:write")
    admit = CommandLine(runner, tmp_path, {"ADMIT_URL": served.url, "ADMIT_TOKEN": token})
    its = ("--issuer", ITS["issuer"], "--subject", ITS["subject"])
    unlinks = ("user", "unlink", "notes", ADA, *its)

    def types() -> None:
        (shown,) = admit.json("user", "identities", "notes", ADA)
        assert (shown["issuer"], shown["subject"], shown["unlinkable"]) == (*ITS.values(), True)
        _, row = admit.done("user", "identities", "notes", ADA).splitlines()
        assert row.split("\t")[:2] == [*ITS.values()]
        assert "add --yes" in admit.refused(*unlinks, code=2)
        ended = admit(*unlinks, "--yes")
        assert (ended.code, ended.out) == (
            0,
            f"{ITS['subject']} of {ITS['issuer']} is unlinked from {ADA}.\n",
        )
        assert "admit user lock notes ada@example.com" in ended.err
        assert "linked again" in ended.err
        assert admit.json("user", "identities", "notes", ADA) == []
        again = admit(*unlinks, "--yes")
        assert (again.code, again.err) == (Exit.NOT_FOUND, "No such identity leads to this user.\n")

    await asyncio.to_thread(types)


# Who never came in


async def claims_in(house: House) -> dict[str, str]:
    rows = await house.db.read(lambda tx: tx.execute(select(admissions.c.user_id, admissions.c.claims)).all())
    return {row.user_id: row.claims for row in rows}


async def settled(house: House, user_id: str, kind: Any) -> None:
    await house.choose(PolicySetting(kind=kind))
    identity = at_google(f"g-{user_id}", f"{user_id}@example.com", claims={"groups": [user_id]})
    if kind == "reject":
        assert await refused(house, identity) == "USER_NOT_REGISTERED"
    else:
        await come(house, identity)


async def test_claims_of_refused_people_are_forgotten_in_time_and_those_of_others_stay(house: House) -> None:
    for name in ("eve", "mallory", "trudy"):
        await settled(house, name, "reject")
    await settled(house, "ada", "prod")
    rows = await house.ledger()
    newest = max(row.settled_at or 0 for row in rows if row.verdict == "refused")
    kept_ms = 30 * DAY_MS

    def prune(now: int, rows_max: int = 10) -> Any:
        return house.db.write(partial(departures.prune, now=now, rows_max=rows_max, kept_ms=kept_ms))

    oldest = min(row.settled_at or 0 for row in rows if row.verdict == "refused")
    assert await prune(oldest + kept_ms - 1) == 0
    assert [await prune(newest + kept_ms, 2) for _ in range(3)] == [2, 1, 0]
    assert await prune(newest + 99 * kept_ms) == 0

    left = await claims_in(house)
    assert {name: msgspec.json.decode(text) for name, text in left.items() if text} == {
        ADA: {"groups": ["ada"]}
    }
    emptied = [replace(row, claims="") if row.verdict == "refused" else row for row in rows]
    assert await house.ledger() == emptied


async def test_housekeeping_forgets_the_claims_of_refused_people(served: Served) -> None:
    prunes = [each for each in served.gateway._prunes if getattr(each, "func", None) is departures.prune]
    assert [each.keywords for each in prunes] == [  # type: ignore[attr-defined]
        {"kept_ms": served.gateway.settings.retention_days * DAY_MS}
    ]


async def test_forgetting_looks_at_the_claims_of_refused_people_alone(house: House) -> None:
    await settled(house, "eve", "reject")

    def plan(tx: Transaction) -> str:
        dialect = tx.connection.dialect
        compiled = departures.PRUNE_CLAIMS.compile(dialect=dialect)
        given = compiled.construct_params({"before": NOW, "most": 10})
        if tx.dialect == "sqlite":
            names = compiled.positiontup or ()
            explain = f"EXPLAIN QUERY PLAN {compiled}", tuple(given[name] for name in names)
        else:
            tx.connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            explain = f"EXPLAIN {compiled}", given  # type: ignore[assignment]
        return str(tx.connection.exec_driver_sql(*explain).all())

    assert "ix_admissions_claims_of_refused" in await house.db.read(plan)
