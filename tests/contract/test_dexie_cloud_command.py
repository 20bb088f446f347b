"""The published `dexie-cloud` command against this server, on each database: it runs as npm delivers it."""

import asyncio
import json
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from admit.accounts import apps, policies
from admit.accounts.app_settings import PolicySetting
from admit.accounts.apps import App
from admit.accounts.client_handover import OWNER_SCOPES
from admit.accounts.tables import users
from admit.enrollment.tables import admissions
from tests.contract.served import Served
from tests.dexie_cloud.command import DexieCloud, Failed

OWNER = "owner@example.com"
BEA = "bea@example.com"
TEMPLATES = "dexie-cloud/email-templates"

Tool = Callable[[str], DexieCloud]


@pytest.fixture
async def app(served: Served) -> App:
    return await served.app()


@pytest.fixture
def tool(served: Served, app: App, tmp_path: Path) -> Tool:
    """The command of somebody, who has a folder of their own; nobody has connected yet."""

    def of(whose: str) -> DexieCloud:
        folder = tmp_path / whose
        folder.mkdir(exist_ok=True)
        return DexieCloud(folder, f"{served.url}/{app.name}")

    return of


@pytest.fixture
async def owners(served: Served, tool: Tool) -> DexieCloud:
    """The command of an owner who has connected."""
    command = tool("owner")
    await command.connect(OWNER, code_for(served, OWNER))
    return command


def code_for(served: Served, email: str) -> Callable[[], Awaitable[str]]:
    """Reads the code out of the next mail to `email`."""
    before = len(served.mails)

    async def read() -> str:
        async with asyncio.timeout(20):
            while not (codes := [each.mail.otp for each in served.mails[before:] if each.mail.to == email]):
                await asyncio.sleep(0.02)  # the worker mails it
        return codes[-1]

    return read


async def current(served: Served, app: App) -> App:
    return await served.gateway.directory.app(app.name)


async def people(served: Served, app: App) -> dict[str, Any]:
    """What is stored of the users, by userId."""
    query = select(users).where(users.c.app_id == app.app_id)
    rows = await served.gateway.db.read(lambda tx: tx.execute(query).all())
    return {row.user_id: row for row in rows}


async def test_an_owner_connects_whatever_the_policy_and_enrolls_nobody(
    served: Served, app: App, tool: Tool
) -> None:
    reject = PolicySetting(kind="reject")
    await served.gateway.db.write(lambda tx: policies.set_policy(tx, app.app_id, reject, served.hands()))
    command = tool("owner")
    said = await command.connect(OWNER, code_for(served, OWNER))
    assert f"Current database is now {command.database_url}" in said
    client = (await current(served, app)).clients[command.keys["clientId"]]
    assert (client.owner, client.scopes) == (OWNER, OWNER_SCOPES)
    assert served.mails[-1].mail.subject.endswith("lets a command manage notes")
    assert await people(served, app) == {}
    count = select(func.count()).select_from(admissions)
    assert await served.gateway.db.read(lambda tx: tx.execute(count).scalar_one()) == 0


async def test_nobody_else_connects_even_with_the_right_code(served: Served, tool: Tool) -> None:
    command = tool("stranger")
    with pytest.raises(Failed, match="Error 403: This address neither owns the app nor waits"):
        await command.connect("eve@example.com", code_for(served, "eve@example.com"))
    assert not (command.folder / "dexie-cloud.key").exists()


async def test_a_wrong_code_connects_nobody(served: Served, tool: Tool) -> None:
    async def guess() -> str:
        return "00000000"

    with pytest.raises(Failed, match="Error 401: This code is not right"):
        await tool("stranger").connect(OWNER, guess)


async def test_whoever_is_authorized_connects_once_and_gets_no_more_than_was_given(
    served: Served, app: App, tool: Tool, owners: DexieCloud
) -> None:
    scopes = "ACCESS_DB,GLOBAL_READ"
    assert "Successfully authorized" in await owners("authorize", BEA, "--scopes", scopes)
    assert "waiting" in await owners("clients")
    bea = tool("bea")
    await bea.connect(BEA, code_for(served, BEA))
    client = (await current(served, app)).clients[bea.keys["clientId"]]
    assert (client.owner, client.scopes) == (BEA, frozenset({"ACCESS_DB", "GLOBAL_READ"}))
    assert "waiting" not in await owners("clients")
    with pytest.raises(Failed, match="Error 403"):
        await tool("bea again").connect(BEA, code_for(served, BEA))


async def test_reconnect_takes_only_a_client_that_waits(
    served: Served, tool: Tool, owners: DexieCloud
) -> None:
    with pytest.raises(Failed, match="nothing_to_connect"):
        await owners.connect(OWNER, code_for(served, OWNER), "reconnect")
    former = owners.keys
    await owners("authorize", OWNER)
    assert "Reconnected" in await owners.connect(OWNER, code_for(served, OWNER), "reconnect")
    assert owners.keys["clientId"] != former["clientId"]
    assert f"Successfully revoked {former['clientId']}" in await owners("revoke", former["clientId"])
    assert former["clientId"] not in await owners("clients")


async def test_a_service_account_has_its_key_at_once(served: Served, app: App, owners: DexieCloud) -> None:
    words = ("authorize", "worker@example.com", "--service-account", "--scopes", "ACCESS_DB,IMPERSONATE")
    await owners(*words, "--out", "worker.key")
    keys = json.loads((owners.folder / "worker.key").read_text())[owners.database_url]
    body = {
        "grant_type": "client_credentials",
        "client_id": keys["clientId"],
        "client_secret": keys["clientSecret"],
        "scopes": ["ACCESS_DB"],
    }
    answer = await served.ask("POST", f"/{app.name}/token", json=body)
    assert (answer.status, answer.json["userType"]) == (200, "client")
    rotated = await owners("clients", "rotate", keys["clientId"], "--out", "newer.key", "--days", "1")
    assert f"Old client: {keys['clientId']}; expires: " in rotated


async def test_a_rotated_key_goes_on_for_a_week_and_then_asks_for_a_code(
    served: Served, tool: Tool, owners: DexieCloud
) -> None:
    colleague = tool("colleague")
    for name in ("dexie-cloud.key", "dexie-cloud.json"):
        (colleague.folder / name).write_text((owners.folder / name).read_text())
    former = owners.keys["clientId"]
    assert f"Old client: {former}" in await owners("rotate")
    assert owners.keys["clientId"] != former
    assert "Listing clients" in await colleague("clients")
    served.hands.move(days=8)
    assert "Listing clients" in await owners("clients")
    said = await colleague.connect(OWNER, code_for(served, OWNER), "clients")
    assert "Local API client key has expired. Starting OTP recovery" in said
    assert colleague.keys["clientId"] != former


async def test_unauthorize_takes_clients_and_ownership_but_not_the_last_owner(
    served: Served, app: App, tool: Tool, owners: DexieCloud
) -> None:
    await served.gateway.db.write(lambda tx: apps.add_owner(tx, app.app_id, BEA, served.hands()))
    bea = tool("bea")
    await bea.connect(BEA, code_for(served, BEA))
    assert "Successfully deleted 1 clients" in await owners("unauthorize", BEA)
    assert (await current(served, app)).owners == {OWNER}
    with pytest.raises(Failed, match="Error 401"):
        await bea("clients")
    with pytest.raises(Failed, match="Error 403"):
        await tool("bea again").connect(BEA, code_for(served, BEA))
    assert "There were no client" in await owners("unauthorize", BEA)
    with pytest.raises(Failed, match="the only owner"):
        await owners("unauthorize", OWNER)
    assert "Listing clients" in await owners("clients")


async def test_whitelist_lists_adds_and_deletes_in_one_spelling(owners: DexieCloud) -> None:
    assert "Added 1 origins" in await owners("whitelist", "https://New.example.com/")
    assert "Added 0 origins" in await owners("whitelist", "https://new.example.com")
    listed = await owners("whitelist")
    assert listed.splitlines()[-2:] == ["https://app.example.com", "https://new.example.com"]
    assert "Removed 1 origins" in await owners("whitelist", "-D", "https://new.example.com/")
    assert "Removed 0 origins" in await owners("whitelist", "-D", "https://new.example.com/")
    with pytest.raises(Failed, match="Error 400"):
        await owners("whitelist", "http://intranet")
    assert "Added 1 origins" in await owners("whitelist", "--force", "http://intranet")


async def test_templates_are_pulled_changed_pushed_and_reset(
    served: Served, app: App, tool: Tool, owners: DexieCloud
) -> None:
    await owners("templates", "pull")
    assert "Number of updated templates: 0" in await owners("templates", "push")
    assert (await current(served, app)).settings.mail_templates is None
    subject = owners.folder / TEMPLATES / "otp-subject.handlebars"
    subject.write_text("{{#if originName}}{{originName}}: {{/if}}{{{otp}}} opens{{! a note }}\n")
    assert "Number of updated templates: 1" in await owners("templates", "push")
    body = {"grant_type": "otp", "email": "ada@example.com", "scopes": ["ACCESS_DB"]}
    code = code_for(served, "ada@example.com")
    assert (await served.ask("POST", f"/{app.name}/token", json=body)).status == 200
    otp = await code()
    assert served.mails[-1].mail.subject == f"notes: {otp} opens"
    assert "needed reset: 1." in await owners("templates", "reset")
    await owners("templates", "pull")
    assert subject.read_text() == "{{ otp }} is your code for {{ originName }}"


async def test_a_template_that_opens_nothing_is_refused_and_none_of_the_files_is_taken(
    served: Served, app: App, owners: DexieCloud
) -> None:
    await owners("templates", "pull")
    (owners.folder / TEMPLATES / "otp-subject.handlebars").write_text("Welcome")
    (owners.folder / TEMPLATES / "otp-body-txt.handlebars").write_text("No code in here")
    with pytest.raises(Failed, match="does not contain"):
        await owners("templates", "push")
    (owners.folder / TEMPLATES / "otp-body-txt.handlebars").write_text("{{#each x}}{{otp}}{{/each}}")
    with pytest.raises(Failed, match="Of the blocks of Handlebars there are"):
        await owners("templates", "push")
    (owners.folder / TEMPLATES / "invite-subject.handlebars").write_text("Come in")
    with pytest.raises(Failed, match=r"Error 501.*invites_not_built"):
        await owners("templates", "push")
    assert (await current(served, app)).settings.mail_templates is None


async def test_a_test_mail_says_what_the_files_of_the_project_say(
    served: Served, app: App, owners: DexieCloud
) -> None:
    await owners("templates", "pull")
    (owners.folder / TEMPLATES / "otp-subject.handlebars").write_text("{{originName}} {{otp}}")
    (owners.folder / TEMPLATES / "otp-testdata.json").write_text('{"otp": "11112222", "other": 1}')
    said = await owners("templates", "test-send", "otp", "--to", BEA)
    assert f"using your local testdata to {BEA}" in said
    assert (served.mails[-1].mail.to, served.mails[-1].mail.subject) == (BEA, "notes 11112222")
    await owners("templates", "test-send", "otp")
    assert served.mails[-1].mail.to == OWNER
    assert (await current(served, app)).settings.mail_templates is None


async def test_users_go_out_and_come_in_as_they_were(
    served: Served, app: App, tmp_path: Path, owners: DexieCloud
) -> None:
    many = [{"userId": f"user{number:04}@example.com", "type": "eval"} for number in range(990)]
    await served.write(app, *many)
    ada = {"userId": "ada@example.com", "type": "prod", "validUntil": "2030-01-02T03:04:05.678Z"}
    bob = {"userId": "bob", "type": "eval", "evalDaysLeft": 3, "deactivated": "2026-01-01T00:00:00Z"}
    zoe = {"userId": "zoé/1", "type": "eval", "data": {"displayName": "Zoë", "n": [1, "\n"]}}
    await served.write(app, ada, bob, zoe, {"userId": "demo@demo.local", "type": "demo"})
    assert "Exported 996 objects to all.zip" in await owners("export", "all")  # and three lines in front
    with zipfile.ZipFile(owners.folder / "all.zip") as archive:
        assert archive.namelist() == ["data.ndjson"]

    other = await served.app("other")
    elsewhere = DexieCloud(owners.folder, f"{served.url}/other")
    await elsewhere.connect(OWNER, code_for(served, OWNER))
    assert "Import complete!" in await elsewhere("import", "all.zip")
    before, after = await people(served, app), await people(served, other)
    assert before.keys() == after.keys()
    for name in ("type", "valid_until", "eval_days_left", "deactivated_at", "data", "name", "email"):
        assert {key: getattr(row, name) for key, row in before.items()} == {
            key: getattr(row, name) for key, row in after.items()
        }
    uids = {row.uid for row in after.values()}
    await elsewhere("import", "all.zip")
    assert {row.uid for row in (await people(served, other)).values()} == uids


async def test_one_file_of_json_goes_out_and_comes_in(served: Served, app: App, owners: DexieCloud) -> None:
    await served.write(app, {"userId": "ada@example.com", "type": "prod", "data": {"a": 1}})
    await owners("export", "--legacy", "all.json")
    other = await served.app("other")
    elsewhere = DexieCloud(owners.folder, f"{served.url}/other")
    await elsewhere.connect(OWNER, code_for(served, OWNER))
    await elsewhere("import", "all.json")
    [ada] = (await people(served, other)).values()
    assert (ada.user_id, ada.type, ada.data) == ("ada@example.com", "prod", '{"a":1}')


async def test_demo_users_are_imported_as_dexie_cloud_documents_it(
    served: Served, app: App, owners: DexieCloud
) -> None:
    demo: dict[str, dict[str, object]] = {"demoUsers": {"alice@demo.local": {}, "bob@demo.local": {}}}
    (owners.folder / "demo.json").write_text(json.dumps(demo))
    await owners("import", "demo.json")
    assert {key: row.type for key, row in (await people(served, app)).items()} == {
        "alice@demo.local": "demo",
        "bob@demo.local": "demo",
    }
    await owners("export", "--demoUsers", "again.json")
    assert (
        json.loads((owners.folder / "again.json").read_text())["demoUsers"].keys() == demo["demoUsers"].keys()
    )


PUBLIC_DATA = {"rlm-public": {"products": {"prd1": {"price": 60, "title": "Shirt"}, "prd2": {"price": 70}}}}
"""As Dexie Cloud documents how public data is added."""


async def rows_of(served: Served, app: App, owners: DexieCloud, where: str) -> dict[str, Any]:
    """The rows at an address, by key, as the program of the owner's client reads them."""
    body = {
        "grant_type": "client_credentials",
        "client_id": owners.keys["clientId"],
        "client_secret": owners.keys["clientSecret"],
        "scopes": ["ACCESS_DB", "GLOBAL_READ"],
    }
    token = (await served.ask("POST", f"/{app.name}/token", json=body)).json["accessToken"]
    answer = await served.ask("GET", f"/{app.name}{where}", headers={"Authorization": f"Bearer {token}"})
    return {row["id"]: row for row in answer.json}


async def test_public_data_and_rows_of_demo_users_are_imported_as_documented(
    served: Served, app: App, owners: DexieCloud
) -> None:
    todos: dict[str, dict[str, object]] = {"#seen:alice@demo.local": {"done": True}, "tds1": {"title": "Tea"}}
    alice = {"todos": todos}
    told = {"demoUsers": {"alice@demo.local": {}}, "data": PUBLIC_DATA | {"alice@demo.local": alice}}
    (owners.folder / "data.json").write_text(json.dumps(told))
    for _ in range(2):
        assert "Import complete!" in await owners("import", "data.json")
        assert await rows_of(served, app, owners, "/public/products") == {
            "prd1": {"id": "prd1", "price": 60, "title": "Shirt", "realmId": "rlm-public"},
            "prd2": {"id": "prd2", "price": 70, "realmId": "rlm-public"},
        }
        assert await rows_of(served, app, owners, "/all/todos?realmId=alice@demo.local") == {
            key: {"id": key, "realmId": "alice@demo.local", "owner": "alice@demo.local", **row}
            for key, row in todos.items()
        }


async def test_rows_go_out_and_come_in_as_they_were(served: Served, app: App, owners: DexieCloud) -> None:
    many = {f"p{number:04}": {"n": number} for number in range(1_200)}
    told = {"data": {"rlm-public": {"products": many, "news": {"n1": {"$$x": {"$t": "Date", "v": "2026"}}}}}}
    (owners.folder / "data.json").write_text(json.dumps(told))
    await owners("import", "data.json")
    assert "Exported 1204 objects to all.zip" in await owners("export", "all")  # and three lines in front
    assert "Exported 4 objects" in await owners("export", "news", "--table", "news")
    assert "Exported 1204 objects" in await owners("export", "realm", "--realmId", "rlm-public")
    await owners("export", "--legacy", "legacy.json")
    before = await rows_of(served, app, owners, "/all/products")
    for name, file in (("second", "all.zip"), ("third", "legacy.json")):
        other = await served.app(name)
        elsewhere = DexieCloud(owners.folder, f"{served.url}/{name}")
        await elsewhere.connect(OWNER, code_for(served, OWNER))
        await elsewhere("import", file)
        assert await rows_of(served, other, elsewhere, "/all/products") == before
        assert len(before) == 1_200
        assert len(await rows_of(served, other, elsewhere, "/all/news")) == 1


async def test_tables_and_realms_are_cleared(served: Served, app: App, owners: DexieCloud) -> None:
    (owners.folder / "data.json").write_text(json.dumps({"data": PUBLIC_DATA}))
    await owners("import", "data.json")
    assert "Deleted 2 object(s)." in await owners("clear-table", "products", "--yes")
    assert await rows_of(served, app, owners, "/all/products") == {}
    await owners("import", "data.json")
    assert "The realm rlm-public is empty." in await owners("clear-realm", "rlm-public", "--yes")
    assert await rows_of(served, app, owners, "/all/products") == {}


async def test_roles_are_refused_with_everything_that_came_along(
    served: Served, app: App, owners: DexieCloud
) -> None:
    (owners.folder / "roles.json").write_text('{"roles": {"manager": {"permissions": {}}}}')
    with pytest.raises(Failed, match=r"Error 501.*realms_not_built"):
        await owners("import", "roles.json")
    members = {"data": {"rlm1": {"members": {"m1": {}}}, "rlm-public": PUBLIC_DATA["rlm-public"]}}
    (owners.folder / "members.json").write_text(json.dumps(members))
    with pytest.raises(Failed, match=r"Error 501.*realms_not_built"):
        await owners("import", "members.json")
    assert await rows_of(served, app, owners, "/all/products") == {}
    assert json.loads(await written(owners, "--schema")) == {"schema": {}, "sealed": False}
    assert json.loads(await written(owners, "--roles")) == {"roles": {}}


async def written(command: DexieCloud, what: str) -> str:
    await command("export", what, "part.json")
    return (command.folder / "part.json").read_text()


async def test_what_is_not_built_says_so(served: Served, tool: Tool, owners: DexieCloud) -> None:
    await refused(owners, "delete_db_not_built", "delete", owners.database_url, "--yes")
    await refused(owners, "delete_db_not_built", "undelete", owners.database_url)
    await refused(owners, "realms_not_built", "clear-realm", "rlm1", "--yes")
    with pytest.raises(Failed, match=r'Error 501: .*"create_db_not_built"'):
        await tool("new").connect(OWNER, code_for(served, OWNER), "create", "--service", served.url)


async def refused(command: DexieCloud, code: str, *words: str) -> None:
    with pytest.raises(Failed, match=f'Error 501: .*"{code}"'):
        await command(*words)
