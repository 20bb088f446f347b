"""Attacks on the Manager's door: proxies and hosts, forged addresses, roles that see or reach too far."""

import asyncio
import re
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from admit.accounts import enrollment_tokens, users
from admit.accounts.enrollment_tokens import Maker, NewToken
from admit.operators import people, sessions, tokens
from admit.operators.account import Account
from admit.operators.passwords import Passwords
from admit.operators.roles import ROLES, Role, scopes_of
from admit.operators.sessions import SignedIn
from admit.storage.transaction import Transaction
from admit.web.app import OPERATIONS
from admit.web.manager import live, routes
from admit.web.manager import people as people_pages
from tests.contract.manager_pages import Operator, signed_in
from tests.contract.operator_desk import OWNER, PASSWORD, Browser, first_link, owner
from tests.contract.served import Served, serving

PUBLIC = "http://login.example.com"
MAIL = "smtp://mail.example.com:587"
SECRET = "Bearer seven-secret-herons"


# Hosts and proxies


async def rename(browser: Browser, **headers: str) -> int:
    await browser.get("/manager/account")
    fields = {"Host": "login.example.com", "Sec-Fetch-Site": "same-origin", **headers}
    return (await browser.post("/manager/account/name", {"name": "Noor"}, headers=fields)).status


async def test_form_is_ours_behind_a_proxy_that_rewrites_host(served_url: str) -> None:
    async with serving(served_url, public_url=PUBLIC, mail_url=MAIL) as served:
        browser = await owner(served)
        assert await rename(browser, Host="backend:8000", Origin=PUBLIC) == 303
        assert await rename(browser, Host="backend:8000", Origin="http://evil.example") == 403
        asked = {"Host": "backend:8000", "Origin": "http://other.example"}
        told = {"X-Forwarded-Host": "other.example"}
        assert await rename(browser, **asked, **told) == 403, "nobody's word is taken for it but a proxy's"
    async with serving(served_url, public_url=PUBLIC, mail_url=MAIL, trusted_proxies="127.0.0.1") as served:
        browser = Browser(served)
        await browser.sign_in()
        assert await rename(browser, **asked, **told) == 303


@pytest.mark.parametrize("origin", ["http://[", "null", "http://", "http://[::1", "//", "http://a:b:c"])
async def test_origin_that_is_none_is_refused(served: Served, origin: str) -> None:
    browser = await owner(served)
    assert await rename(browser, Origin=origin) == 403


async def test_address_that_cannot_be_read_leads_to_the_first_page(served: Served) -> None:
    browser = await owner(served)
    answer = await browser.get("/manager/sign-in?next=//[")
    assert (answer.status, answer.headers["Location"]) == (303, "/manager")
    await browser.get("/manager/account")
    answer = await browser.post(
        "/manager/theme", {"theme": "dark"}, headers={"Referer": "http://[/manager/x"}
    )
    assert (answer.status, answer.headers["Location"]) == (303, "/manager")


@pytest.mark.parametrize("path", ["/apps/%FF", "/apps/%00", "/apps/%2e%2e/people", "/apps/..%2f..", "/%FF"])
async def test_path_that_cannot_be_read_is_answered_as_a_page(served: Served, path: str) -> None:
    async with signed_in(served) as operator:
        shown = await operator.get(f"/manager{path}")
    assert shown.status in (400, 404), shown.text
    assert "frame-ancestors 'none'" in shown.headers["Content-Security-Policy"]


# The first owner


async def test_first_owner_who_was_invited_and_sent_away_can_come_in(served: Served) -> None:
    path = await first_link(served)

    def unit(tx: Transaction) -> None:
        people.add(tx, OWNER, "support", served.hands())
        people.deactivate(tx, OWNER, served.hands())

    await served.gateway.db.write(unit)
    browser = Browser(served)
    assert (await browser.set_up(path)).status == 303
    assert await browser.is_signed_in()


# A browser that was left open


async def test_token_is_made_after_a_fresh_sign_in_only(served: Served) -> None:
    browser = await owner(served)
    await browser.get("/manager/tokens")
    served.hands.move(seconds=sessions.RECENT_MS / 1_000 + 1)
    fields = {"label": "mallory", "scope": "users:read", "ends": ""}
    answer = await browser.post("/manager/tokens/create", fields)
    assert answer.status == 303
    assert answer.headers["Location"].startswith("/manager/sign-in?again=1")
    assert (await served.ask("GET", "/api/tokens", headers=served.command())).json == []
    await browser.sign_in()
    await browser.get("/manager/tokens")
    assert (await browser.post("/manager/tokens/create", fields)).status == 200


class Slow(Passwords):
    """Passwords whose digests are ready when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def digest(self, password: str) -> str:
        self.begun.set()
        await self.go_on.wait()
        return await super().digest(password)


async def test_operator_who_is_sent_away_meanwhile_sets_no_password(served: Served) -> None:
    browser, gateway, slow = await owner(served), served.gateway, Slow()
    account = Account(gateway.db, gateway.ring, gateway.clock, slow, gateway.settings.public_url)
    who = await whose(served, browser)
    setting = asyncio.create_task(account.set_password(who, "a password of mallory"))
    await slow.begun.wait()
    await gateway.db.write(lambda tx: sessions.end_session(tx, who.session_id))
    slow.go_on.set()
    with pytest.raises(Exception, match="You are signed out"):
        await setting
    assert (await Browser(served).sign_in(password=PASSWORD)).status == 303


async def whose(served: Served, browser: Browser) -> SignedIn:
    gateway = served.gateway
    found = await sessions.find_session(
        gateway.db, gateway.ring, browser.cookies["admit-operator"], served.hands()
    )
    assert found is not None
    return found


# Sent away while a file is written


async def test_export_breaks_off_when_its_operator_is_sent_away(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await served.app()
    await served.write(app, *({"userId": f"u{n}@example.com", "type": "prod"} for n in range(8)))
    monkeypatch.setattr(people_pages, "EXPORT_PEOPLE", 3)
    looked: list[str] = []
    ask = live.still_signed_in

    async def look(page: Any) -> bool:
        looked.append(page.app)
        who = page.signed_in.operator.operator_id
        await page.gateway.db.write(lambda tx: sessions_of_nobody(tx, who))
        return await ask(page)

    monkeypatch.setattr(live, "still_signed_in", look)
    async with signed_in(served) as operator:
        with pytest.raises(Exception, match=r"(?i)payload|closed|disconnected"):
            await operator.get(people_export())
    assert looked == ["notes"]


def sessions_of_nobody(tx: Transaction, who: str) -> None:
    for each in sessions.list_sessions(tx, 0, who):
        sessions.end_session(tx, each.session_id)


def people_export() -> str:
    (path,) = (each.path for each in routes.PAGES if each.handler is people_pages.export)
    return path.replace("{app}", "notes") + "?format=csv"


# Links of somebody who was sent away


async def test_link_ends_with_the_operator_who_made_it(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    async with signed_in(served, "support"):
        pass
    of_support = Maker(operator_token_id="opr_of_test_support")

    def mint(tx: Transaction) -> str:
        key = (app.app_id, "ada@example.com")
        uid = users.by_user_id(tx, [key])[key].uid
        new = NewToken(uid=uid, maker=of_support)
        enrollment_tokens.mint(tx, served.gateway.ring, app.app_id, new, served.hands())
        return uid

    uid = await served.gateway.db.write(mint)
    assert await states(served, app.app_id, uid) == ["active"]
    await served.gateway.db.write(lambda tx: people.deactivate(tx, "opr_of_test_support", served.hands()))
    assert await states(served, app.app_id, uid) == ["revoked"]


async def states(served: Served, app_id: str, uid: str) -> list[str]:
    now = served.hands()
    found = await served.gateway.db.read(lambda tx: enrollment_tokens.of_user(tx, app_id, uid, now=now))
    return [each.state(now) for each in found]


# Roles and tokens that reach too far


async def bearer(served: Served, *scopes: str) -> dict[str, str]:
    new = tokens.NewToken(label="narrow", scopes=frozenset(scopes))
    made = await served.gateway.db.write(
        partial(tokens.create_token, ring=served.gateway.ring, new=new, now=served.hands())
    )
    return {"Authorization": f"Bearer {made.token}"}


async def endpoint(served: Served, **settings: Any) -> str:
    new = {"url": "https://hooks.example.com/in", "headers": {"authorization": SECRET}} | settings
    answer = await served.ask("POST", "/api/apps/notes/endpoints", json=new, headers=served.command())
    assert answer.status == 200, answer.body
    return f"/api/apps/notes/endpoints/{answer.json['id']}"


ELSEWHERE = "https://mallory.example/in"


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({}, {"url": ELSEWHERE}),
        ({}, {"url": "https://hooks.example.com:8443/in"}),
        ({"headers": {}, "format": "dexie"}, {"url": ELSEWHERE}),
        ({"format": "dexie"}, {"url": ELSEWHERE, "headers": {}}),
    ],
)
async def test_nobody_leads_a_secret_away_that_they_may_not_see(
    served: Served, settings: dict[str, Any], change: dict[str, Any]
) -> None:
    await served.app()
    path = await endpoint(served, **settings)
    before = (await served.ask("GET", path, headers=served.command())).json
    narrow = await bearer(served, *scopes_of("support"))
    refused = await served.ask("PUT", path, json=change, headers=narrow)
    assert refused.status == 403, refused.body
    assert b"secrets:read" in refused.body
    assert (await served.ask("GET", path, headers=served.command())).json == before
    assert (await served.ask("PUT", path, json=change, headers=served.command())).status == 200


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({}, {"url": "https://hooks.example.com/other"}),
        ({}, {"url": ELSEWHERE, "headers": {}}),
        ({"headers": {}}, {"url": ELSEWHERE}),
        ({}, {"description": "Slow"}),
        ({"format": "dexie"}, {"format": "dexie"}),
    ],
)
async def test_support_changes_an_endpoint_where_no_secret_goes_elsewhere(
    served: Served, settings: dict[str, Any], change: dict[str, Any]
) -> None:
    await served.app()
    path = await endpoint(served, **settings)
    narrow = await bearer(served, *scopes_of("support"))
    assert (await served.ask("PUT", path, json=change, headers=narrow)).status == 200


@pytest.mark.parametrize("role", ["support", "read-only"])
async def test_changes_tell_no_role_of_operators_or_tokens_what_it_may_not_read(
    served: Served, role: Role
) -> None:
    command = served.command()
    asked = {"email": "secretive@example.com", "role": "admin"}
    assert (await served.ask("POST", "/api/operators", json=asked, headers=command)).status == 200
    token = {"label": "secretive", "scopes": ["apps:read"]}
    assert (await served.ask("POST", "/api/tokens", json=token, headers=command)).status == 200
    narrow = await bearer(served, *scopes_of(role), "audit:read")
    listed = (await served.ask("GET", "/api/changes", headers=narrow)).json["changes"]
    assert {each["path"] for each in listed} == {"/api/operators", "/api/tokens"}
    for each in listed:
        path = f"/api/changes/{each['change_id']}"
        assert b"secretive" not in (await served.ask("GET", path, headers=narrow)).body
        assert b"secretive" in (await served.ask("GET", path, headers=command)).body


@pytest.mark.parametrize("depth", [400, 2_000, 40_000])
async def test_body_however_deep_is_written_down_or_refused(served: Served, depth: int) -> None:
    await served.app()
    body = b'{"value":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    headers = served.command() | {"Content-Type": "application/json"}
    answer = await served.ask("PUT", "/api/apps/notes/objects/t/k", data=body, headers=headers)
    assert answer.status in (200, 400, 413, 422), (answer.status, answer.body)
    (row,) = (await served.ask("GET", "/api/changes", headers=served.command())).json["changes"]
    assert row["status"] == answer.status


REACHED = [each for each in OPERATIONS if each.access in ("operator", "operator_or_client")]


@pytest.mark.parametrize("role", ROLES)
async def test_every_operation_refuses_the_roles_that_lack_its_scope(served: Served, role: Role) -> None:
    await served.app()
    narrow = await bearer(served, *scopes_of(role))
    wrong = []
    for each in REACHED:
        path = each.path.replace("{app}", "notes")
        path = re.sub(r"{[^}]+}", "nothing", path)
        answer = await served.ask(each.method, path, headers=narrow, json={})
        if (answer.status == 403) != bool(set(each.scopes) - scopes_of(role)):
            wrong.append((each.method, each.path, answer.status))
    assert wrong == []


# Secrets, wherever somebody looks

HERON = "seven-secret-herons"
PLANTED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PUT", "policy", {"kind": "webhook", "url": "https://hooks.example.com/sign-in"}),
    ("POST", "policy/secret", {}),
    ("POST", "clients", {"scopes": ["ACCESS_DB"]}),
    ("POST", "endpoints", {"url": "https://hooks.example.com/a", "headers": {"authorization": HERON}}),
    ("POST", "endpoints", {"url": "https://hooks.example.com/b", "format": "dexie"}),
    ("POST", "providers", {"name": "google", "type": "google", "client_id": "1", "client_secret": HERON}),
    ("PUT", "mail", {"url": f"smtps://post:{HERON}@mail.example.com", "sender": "a@example.com"}),
    ("PUT", "task-env/CRM_KEY", {"value": HERON}),
    ("POST", "users", {"userId": "ada@example.com", "type": "prod"}),
    ("POST", "users/ada@example.com/enrollment-tokens", {}),
    ("POST", "events/trigger", {"type": "user.deactivated"}),
    ("POST", "model/key", {}),
)
TOLD_AS = ("hook_secret", "client_secret", "secret", "token", "link")


async def planted(served: Served) -> tuple[set[str], dict[str, str]]:
    """Secrets of every kind that a server keeps or has told, and what things are called in paths."""
    command, found, names = served.command(), {HERON}, {"app": "notes", "user_id": "ada@example.com"}
    everywhere: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("POST", "/api/tokens", {"label": "deploy", "scopes": ["apps:read"]}),
        ("POST", "/api/operators", {"email": "iris@example.com", "role": "admin"}),
    )
    for method, path, body in (*((m, f"/api/apps/notes/{p}", b) for m, p, b in PLANTED), *everywhere):
        answer = await served.ask(
            method, path, json=[body] if path.endswith("/users") else body, headers=command
        )
        assert answer.status in (200, 201, 204), (path, answer.status, answer.body)
        told = answer.json if answer.body else {}
        if isinstance(told, dict):
            found |= {str(told[name]).rpartition("/")[2] for name in TOLD_AS if told.get(name)}
            if path.endswith("/endpoints"):
                names["endpoint"] = told["id"]
    of_all = {"headers": command}
    (first, *_) = (await served.ask("GET", "/api/apps/notes/deliveries", **of_all)).json["deliveries"]
    people = (await served.ask("GET", "/api/apps/notes/events", **of_all)).json["events"]
    names |= {
        "delivery": first["id"],
        "provider": "google",
        "event": people[0]["id"],
        "type": "user.deactivated",
    }
    return found, names


@pytest.mark.parametrize("role", ["support", "read-only", "owner"])
async def test_no_secret_is_read_anywhere(served: Served, role: Role) -> None:
    await served.app()
    with capture_logs() as logged:
        secrets, names = await planted(served)
        assert len(secrets) >= 8
        narrow, seen = await bearer(served, *scopes_of(role)), []
        changes = (await served.ask("GET", "/api/changes", headers=served.command())).json["changes"]
        assert len(changes) >= len(PLANTED)
        async with signed_in(served, role) as operator:
            for each in (names | {"change": one["change_id"]} for one in changes):
                seen += await looked(served, operator, narrow, each, only="{change}")
            seen += await looked(served, operator, narrow, names)
    told = [(path, each[:6]) for path, text in seen for each in secrets if each in text]
    assert told == []
    assert [each for each in secrets if each in repr(logged)] == []
    assert sum(1 for path, text in seen if text) > 60


async def looked(
    served: Served, operator: Operator, bearer: dict[str, str], names: dict[str, str], only: str = ""
) -> list[tuple[str, str]]:
    """What every page and every operation that reads tells, by its path."""
    pages = [f"/manager{each.path}" for each in routes.PAGES if each.method == "GET"]
    reads = [each.path for each in REACHED if each.method == "GET"]
    seen = []
    for pattern in [each for each in pages + reads if only in each]:
        path = re.sub(r"{(\w+)(?::path)?}", lambda found: names.get(found[1], "nothing"), pattern)
        if path.endswith("/live"):
            continue
        if path.startswith("/manager"):
            shown = await operator.get(path)
            seen.append((path, shown.html if shown.status == 200 else ""))
            assert shown.status < 500, path
        else:
            answer = await served.ask("GET", path, headers=bearer)
            seen.append((path, answer.body.decode() if answer.status == 200 else ""))
            assert answer.status < 500, path
    return seen


OWN = ("/theme", "/sign-out", "/account")


async def test_read_only_changes_nothing_by_any_form(served: Served) -> None:
    await served.app()
    _, names = await planted(served)
    before = (await served.ask("GET", "/api/changes", headers=served.command())).json["changes"][0]
    fields = {"name": "x", "email": "x@example.com", "role": "owner", "label": "x", "ends": "", "url": "x"}
    async with signed_in(served, "read-only") as operator:
        fields["csrf"] = (await operator.get("/account")).form("/account/name").fields["csrf"]
        for each in routes.PAGES:
            if each.method == "GET" or each.path.startswith(OWN):
                continue
            path = re.sub(r"{(\w+)}", lambda found: names.get(found[1], "nothing"), each.path)
            shown = await operator.send(f"/manager{path}", fields)
            assert shown.status in (200, 400, 403, 404, 409), (path, shown.status)
    made = (await served.ask("GET", "/api/changes", headers=served.command())).json["changes"]
    newer = made[: [each["change_id"] for each in made].index(before["change_id"])]
    assert {each["status"] for each in newer if each["kind"] == "change"} == {403}
