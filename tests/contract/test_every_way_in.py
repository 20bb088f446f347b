"""Every way by which a user comes to be leaves one row in the ledger, which names it; so does a refusal.

tests/structure/test_ways_in.py sees to it that there is no other way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import select

from admit.accounts import app_providers, apps, policies
from admit.accounts.app_settings import PolicySetting
from admit.accounts.apps import App
from admit.accounts.devices import NOT_SENT
from admit.accounts.providers import Provider
from admit.enrollment import creations, departures, ledger
from admit.enrollment.tables import admissions
from admit.errors import NO_SEATS_AVAILABLE, Refused
from admit.signin import sso, sso_attempts
from admit.signin.identity import Identity
from admit.signin.redirects import Redirect
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.contract.served import ORIGIN, Answered, Served
from tests.contract.signin_desk import device
from tests.contract.test_devices_at_the_door import vouched
from tests.contract.test_seats import by_google
from tests.contract.test_transfer_api import line
from tests.contract.token_desk import ask, events_of, signed_in

ADA = "ada@example.com"
DEMO = "alice@demo.local"
SCOPES = ("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE")
GOOGLE = Provider(
    name="google", type="google", display_name="Google", issuer="https://accounts.google.com", client_id="us"
)
ADA_AT_GOOGLE = Identity(
    issuer=GOOGLE.issuer,
    subject="g-1815",
    email=ADA,
    email_verified=True,
    email_trusted=True,
    name="Ada",
    claims={"groups": ["engineering"], "org": {"name": "Analytical Engines"}},
)
"""What Google says of her, once its answers have been checked."""


@pytest.fixture
async def app(served: Served) -> App:
    """An app where Google vouches for people, too."""
    made = await served.app()

    def add(tx: Transaction) -> None:
        apps.mark_changed(tx, made.app_id, served.hands())
        app_providers.put(tx, served.gateway.ring, made.app_id, GOOGLE, served.hands())

    await served.gateway.db.write(add)
    return await until(served, lambda now: "google" in now.providers)


async def until(served: Served, holds: Callable[[App], bool]) -> App:
    """The app, once this server has heard of its change."""
    async with asyncio.timeout(10):
        while not holds(app := await served.gateway.directory.app("notes")):
            await asyncio.sleep(0.01)
    return app


async def choose(served: Served, app: App, policy: PolicySetting, *, way_in: str = "") -> App:
    """Puts a policy in force."""
    now = served.hands()
    if way_in:
        unit = partial(policies.set_policy_for, app_id=app.app_id, way_in=way_in, setting=policy, now=now)
    else:
        unit = partial(policies.set_policy, app_id=app.app_id, setting=policy, now=now)
    await served.gateway.db.write(unit)
    return await until(served, lambda now: now.policy_for(way_in) == policy)


# People at the door


async def by_mailed_code(served: Served, app: App) -> object:
    return await signed_in(served, ADA)


async def by_client_credentials(served: Served, app: App) -> object:
    client = await served.client(app)
    await until(served, lambda now: client.client_id in now.clients)
    return await vouched(served, client)


async def by_sso(served: Served, app: App) -> object:
    attempt = sso_attempts.begin(app.app_id, GOOGLE, Redirect(f"{ORIGIN}/", ORIGIN), "", served.hands())
    await served.gateway.sso_codes.give_out(attempt, ADA_AT_GOOGLE, "127.0.0.1")
    body = {
        "grant_type": "authorization_code",
        "code": attempt.code,
        "public_key": device().public_key.pem,
        "scopes": ["ACCESS_DB"],
    }
    headers = {"Origin": ORIGIN}
    return await served.ask("POST", "/notes/token", headers=headers, data=msgspec.json.encode(body))


async def by_token_exchange(served: Served, app: App) -> object:
    """As POST /token does it with an ID token that was found to be good."""
    key = device().public_key
    codes = served.gateway.sso_codes
    admitted = sso.proof_of(
        app,
        GOOGLE,
        ADA_AT_GOOGLE,
        method="token_exchange",
        scopes=("ACCESS_DB",),
        sign_in_code=await codes.note_token(app, GOOGLE, "an.id.token", key),
        public_key=key,
        device=NOT_SENT,
    )
    with suppress(Refused):
        await served.gateway.door.admit(app, admitted)
    return None


# Operators and their programs


async def post(served: Served, path: str, body: object, headers: dict[str, str]) -> Answered:
    return await served.ask("POST", path, headers=headers, data=msgspec.json.encode(body))


async def by_users_endpoint(served: Served, app: App, type: str = "prod") -> object:
    headers = served.bearer(app, "program", SCOPES)
    return await post(served, "/notes/users", [{"userId": ADA, "type": type}], headers)


async def by_admin_api(served: Served, app: App, type: str = "prod") -> object:
    return await post(served, "/api/apps/notes/users", [{"userId": ADA, "type": type}], served.command())


async def by_admin_import(served: Served, app: App, type: str = "prod") -> object:
    """Which `admit user import` calls."""
    body = {"users": [{"userId": ADA, "type": type}]}
    return await post(served, "/api/apps/notes/user-imports", body, served.command())


async def by_import_of_lines(served: Served, app: App, type: str = "prod") -> object:
    """Which `dexie-cloud import` calls with the archive of an export."""
    headers = served.bearer(app, scopes=SCOPES)
    body = line(ADA, type=type).encode()
    return await served.ask("POST", "/notes/import/stream", headers=headers, data=body)


async def by_import_of_a_file(served: Served, app: App, type: str = "prod") -> object:
    """Which `dexie-cloud import` calls with a file of JSON."""
    body = {"data": {"$users": {"$users": {ADA: {"type": type}}}}}
    return await post(served, "/notes/import", body, served.bearer(app, scopes=SCOPES))


Way = Callable[[Served, App], Awaitable[object]]

AT_THE_DOOR: dict[Way, tuple[str, str]] = {
    by_mailed_code: ("email_code", "email_code"),
    by_client_credentials: ("client_credentials", "client_credentials"),
    by_sso: ("google", "sso"),
    by_token_exchange: ("google", "token_exchange"),
}
WRITTEN: dict[Way, tuple[str, str]] = {
    by_users_endpoint: ("api", "api"),
    by_admin_api: ("api", "api"),
    by_admin_import: ("import", "api"),
    by_import_of_lines: ("import", "api"),
    by_import_of_a_file: ("import", "api"),
}


def each_of(ways: dict[Way, tuple[str, str]]) -> pytest.MarkDecorator:
    """One test for each way, under its name."""
    rows = [(way, way_in, method) for way, (way_in, method) in ways.items()]
    return pytest.mark.parametrize(("way", "way_in", "method"), rows, ids=[row[0].__name__ for row in rows])


async def ledger_of(served: Served, query: str = "") -> list[dict[str, Any]]:
    answer = await served.ask("GET", f"/api/apps/notes/admissions{query}", headers=served.command())
    rows: list[dict[str, Any]] = answer.json["admissions"]
    return rows


async def people(served: Served) -> list[dict[str, Any]]:
    answer = await served.ask("GET", "/api/apps/notes/users", headers=served.command())
    rows: list[dict[str, Any]] = answer.json["users"]
    return rows


@each_of(AT_THE_DOOR | WRITTEN)
async def test_each_way_in_leaves_one_row_that_names_it(
    served: Served, app: App, way: Way, way_in: str, method: str
) -> None:
    await choose(served, app, PolicySetting(kind="prod"))

    await way(served, await served.gateway.directory.app("notes"))

    [person] = await people(served)
    [row] = await ledger_of(served)
    assert (row["way_in"], row["method"], row["verdict"]) == (way_in, method, "prod")
    assert (row["uid"], row["user_id"]) == (person["uid"], ADA)
    assert (person["way_in"], person["type"]) == (way_in, "prod")
    assert row["claims"] == (ADA_AT_GOOGLE.claims if way_in == "google" else None)
    told = dict(await events_of(served, app.app_id))["user.enrolled"]
    assert told["verdict"]["admission_id"] == row["admission_id"]


@each_of(AT_THE_DOOR)
async def test_who_comes_again_leaves_no_second_row_and_keeps_the_first_way_in(
    served: Served, app: App, way: Way, way_in: str, method: str
) -> None:
    await by_users_endpoint(served, app, "eval")
    await way(served, app)
    await by_mailed_code(served, app)

    [person] = await people(served)
    assert person["way_in"] == "api"
    assert person["last_login_at"] is not None
    assert [row["way_in"] for row in await ledger_of(served)] == ["api"]


@each_of(AT_THE_DOOR)
async def test_each_refusal_at_the_door_leaves_one_row_that_names_the_way(
    served: Served, app: App, way: Way, way_in: str, method: str
) -> None:
    app = await choose(served, app, PolicySetting(kind="reject"))

    await way(served, app)

    assert await people(served) == []
    [row] = await ledger_of(served)
    assert (row["way_in"], row["method"], row["verdict"], row["uid"]) == (way_in, method, "refused", None)
    assert row["claims"] == (ADA_AT_GOOGLE.claims if way_in == "google" else None)
    assert [kind for kind, _ in await events_of(served, app.app_id)] == ["user.refused"]


@each_of(AT_THE_DOOR)
async def test_each_way_in_obeys_its_own_policy(
    served: Served, app: App, way: Way, way_in: str, method: str
) -> None:
    app = await choose(served, app, PolicySetting(kind="prod"))
    app = await choose(served, app, PolicySetting(kind="reject"), way_in=way_in)
    await way(served, app)
    assert [(row["policy"], row["verdict"]) for row in await ledger_of(served)] == [("reject", "refused")]


@each_of(WRITTEN)
async def test_what_cannot_be_written_leaves_nobody_and_no_row(
    served: Served, app: App, way: Callable[..., Awaitable[object]], way_in: str, method: str
) -> None:
    await way(served, app, "no-such-type")
    assert await people(served) == []
    assert await ledger_of(served) == []


@each_of(AT_THE_DOOR | WRITTEN)
async def test_each_way_in_has_its_own_seats(
    served: Served, app: App, way: Way, way_in: str, method: str
) -> None:
    app = await choose(served, app, PolicySetting(kind="prod"))
    path = f"/api/apps/notes/seats?for={way_in}"
    await served.ask("PUT", path, headers=served.command(), data=b'{"limit":0}')

    await way(served, app)

    assert await people(served) == []
    refused = [(way_in, NO_SEATS_AVAILABLE)] if way in AT_THE_DOOR else []
    assert [(row["way_in"], row["code"]) for row in await ledger_of(served)] == refused


async def test_demo_users_are_written_like_others_and_whoever_visits_as_them_makes_nobody(
    served: Served, app: App
) -> None:
    visit = {
        "grant_type": "demo",
        "demo_user": DEMO,
        "scopes": ["ACCESS_DB"],
        "public_key": device().public_key.pem,
    }
    assert (await ask(served, visit)).status != 200
    assert await ledger_of(served) == []

    headers = served.bearer(app, "program", SCOPES)
    await post(served, "/notes/users", [{"userId": DEMO, "type": "demo"}], headers)
    assert (await ask(served, visit)).status == 200

    assert [(row["way_in"], row["verdict"]) for row in await ledger_of(served)] == [("api", "demo")]


async def test_a_trial_run_of_an_import_makes_nobody(served: Served, app: App) -> None:
    body = {"users": [{"userId": ADA, "type": "prod"}], "dry_run": True}
    where = "/api/apps/notes/user-imports"
    assert (await post(served, where, body, served.command())).json["created"] == 1
    await served.ask("PUT", "/api/apps/notes/seats?for=import", headers=served.command(), data=b'{"limit":0}')
    refused = (await post(served, where, body, served.command())).json["refused"]
    assert [each["code"] for each in refused] == [NO_SEATS_AVAILABLE]
    assert (await people(served), await ledger_of(served)) == ([], [])


async def test_the_ledger_of_one_way_in_is_read_in_pages(served: Served, app: App) -> None:
    for number in range(5):
        user = {"userId": f"u{number}@example.com", "type": "eval"}
        await served.write(app, user)
        await post(
            served,
            "/api/apps/notes/user-imports",
            {"users": [user | {"userId": f"i{number}@example.com"}]},
            served.command(),
        )

    seen: list[str] = []
    query = "?way_in=import&limit=2"
    while True:
        page = await served.ask("GET", f"/api/apps/notes/admissions{query}", headers=served.command())
        seen += [row["user_id"] for row in page.json["admissions"]]
        if page.json["before"] is None:
            break
        query = f"?way_in=import&limit=2&before={page.json['before']}"

    assert seen == [f"i{number}@example.com" for number in reversed(range(5))]
    of_one = "?way_in=import&user=i3@example.com"
    assert [row["user_id"] for row in await ledger_of(served, of_one)] == ["i3@example.com"]
    assert await ledger_of(served, "?way_in=api&user=i3@example.com") == []
    assert await ledger_of(served, "?way_in=google") == []


async def test_claims_go_with_the_person_and_the_row_stays(served: Served, app: App) -> None:
    await choose(served, app, PolicySetting(kind="reject"))
    await by_sso(served, app)
    app = await choose(served, app, PolicySetting(kind="prod"))
    await by_sso(served, app)
    bob = replace(by_google("bob"), claims={"groups": ["chess"]})
    await served.gateway.door.admit(app, bob)

    where = f"/api/apps/notes/users/{ADA}"
    assert (await served.ask("DELETE", where, headers=served.command())).status == 204

    left = {(row["user_id"], row["verdict"]): row["claims"] for row in await ledger_of(served)}
    assert left == {
        (ADA, "refused"): None,
        (ADA, "prod"): None,
        ("bob@example.com", "prod"): {"groups": ["chess"]},
    }


async def test_claims_in_more_rows_than_a_unit_may_touch_are_forgotten_too(served: Served, app: App) -> None:
    """Whoever was refused over and over and then came in is deleted slice by slice."""
    await served.gateway.door.admit(app, replace(by_google("ada"), claims={"groups": ["chess"]}))

    def repeat(tx: Transaction) -> None:
        row = dict(tx.execute(select(admissions)).one()._mapping)
        rows = [row | {"admission_id": f"adm_{number}", "verdict": "refused"} for number in range(2_500)]
        tx.execute(creations.ADD_SETTLED, rows)

    await served.gateway.db.write(repeat)
    assert await departures.delete_person(served.gateway.db, app.app_id, ADA, served.hands())
    kept = select(admissions.c.admission_id).where(admissions.c.claims != "")
    assert await served.gateway.db.read(lambda tx: tx.execute(kept).all()) == []


async def test_each_page_of_the_ledger_is_read_by_an_index_that_has_its_order(database: Database) -> None:
    """Without statistics, as a young table has none. Nobody sorts a ledger of years."""
    expected = {
        "OF_APP": "app_id_opened_at_admission_id",
        "OF_PERSON": "app_id_user_id_opened_at_admission_id",
        "BY_WAY": "app_id_way_in_opened_at_admission_id",
        "REFUSED": "refused",
        "OF_BEGINNING": "app_id_user_id_opened_at_admission_id",
    }
    values = {"app": "app_notes", "person": ADA, "way": "google", "at": 1, "id": "adm"}
    values |= {"looked": 50, "since": 0, "stop": f"{ADA}{ledger.LAST}"}

    def plan(tx: Transaction, name: str) -> str:
        compiled: Any = getattr(ledger, name).compile(dialect=tx.connection.dialect)
        asked = compiled.construct_params(values)
        if tx.dialect == "sqlite":
            given = tuple(asked[each] for each in compiled.positiontup)
            rows = tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", given)
        else:
            tx.connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            rows = tx.connection.exec_driver_sql(f"EXPLAIN {compiled}", asked)
        return "\n".join(map(str, rows))

    for name, index in expected.items():
        told = await database.read(partial(plan, name=name))
        assert f"ix_admissions_{index}" in told, f"{name}: {told}"
        assert "Sort Key" not in told, f"{name}: {told}"
        assert "TEMP B-TREE" not in told, f"{name}: {told}"
