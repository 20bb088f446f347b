"""/api/operators: who may ask, what is told, and what happens to whom."""

import pytest

from tests.contract.operator_desk import OWNER, Browser, invited, operators_of, owner
from tests.contract.served import Answered, Served


async def token_with(served: Served, *scopes: str, app: str | None = None) -> dict[str, str]:
    """The header with an operator token that has `scopes`."""
    made = await served.ask(
        "POST", "/api/tokens", json={"scopes": list(scopes), "app": app}, headers=served.command()
    )
    assert made.status == 200, made.body
    return {"Authorization": f"Bearer {made.json['token']}"}


async def asked(served: Served, method: str, path: str, body: object = None) -> Answered:
    """What the API answers to a command."""
    return await served.ask(method, f"/api{path}", json=body, headers=served.command())


async def test_operator_is_told_without_secrets(served: Served) -> None:
    await owner(served)
    await invited(served, "bob@example.com", "support")
    bob, noor = await operators_of(served)
    assert (bob["email"], bob["joined_at"], bob["has_password"], bob["passkeys"]) == (
        "bob@example.com",
        None,
        False,
        0,
    )
    assert (noor["name"], noor["role"], noor["has_password"]) == ("Noor", "owner", True)
    listed = await asked(served, "GET", "/operators")
    assert b"argon2" not in listed.body


async def test_scope_is_needed_for_each(served: Served) -> None:
    await owner(served)
    reader = await token_with(served, "operators:read")
    other = await token_with(served, "apps:read", "apps:write", "tokens:read", "tokens:write")
    for path in ("/api/operators", "/api/operator-sessions"):
        assert (await served.ask("GET", path, headers=reader)).status == 200
        assert (await served.ask("GET", path, headers=other)).status == 403
        assert (await served.ask("GET", path)).status == 401
    for method, path, body in (
        ("POST", "/api/operators", {"email": "eve@example.com", "role": "owner"}),
        ("POST", f"/api/operators/{OWNER}/link", None),
        ("PUT", f"/api/operators/{OWNER}/role", {"role": "admin"}),
        ("POST", f"/api/operators/{OWNER}/deactivation", None),
        ("DELETE", f"/api/operators/{OWNER}/deactivation", None),
        ("DELETE", f"/api/operators/{OWNER}/sessions", None),
        ("DELETE", "/api/operator-sessions/ops_1", None),
    ):
        for headers in (reader, other):
            answer = await served.ask(method, path, json=body, headers=headers)
            assert (answer.status, answer.json["code"]) == (403, "insufficient_scope"), path
    assert len(await operators_of(served)) == 1


async def test_token_of_one_app_reaches_no_operators(served: Served) -> None:
    await served.app()
    held = await token_with(served, "operators:read", "operators:write", app="notes")
    assert (await served.ask("GET", "/api/operators", headers=held)).status == 403
    body = {"email": "eve@example.com", "role": "owner"}
    assert (await served.ask("POST", "/api/operators", json=body, headers=held)).status == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "bob@example.com"},
        {"email": "bob@example.com", "role": "chief"},
        {"email": "bob", "role": "admin"},
        {"email": "bob@example.com", "role": "admin", "name": "Bob"},
        {"email": 5, "role": "admin"},
    ],
)
async def test_nonsense_invites_nobody(served: Served, body: dict[str, object]) -> None:
    answer = await asked(served, "POST", "/operators", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert await operators_of(served) == []


async def test_sessions_of_one_and_of_all(served: Served) -> None:
    await owner(served)
    await Browser(served).set_up(await invited(served, "bob@example.com", "admin"))
    assert len((await asked(served, "GET", "/operator-sessions")).json) == 2
    (bobs,) = (await asked(served, "GET", "/operator-sessions?operator=bob@example.com")).json
    assert (bobs["email"], bobs["method"], bobs["address"]) == ("bob@example.com", "link", "127.0.0.1")
    unknown = await asked(served, "GET", "/operator-sessions?operator=eve@example.com")
    assert (unknown.status, unknown.json["code"]) == (404, "operator_not_found")
    ended = await asked(served, "DELETE", "/operators/bob@example.com/sessions")
    assert ended.json == {"ended": 1}
    assert len((await asked(served, "GET", "/operator-sessions")).json) == 1


async def test_what_is_done_twice_changes_nothing_more(served: Served) -> None:
    await owner(served)
    await invited(served, "bob@example.com", "admin")
    first = await asked(served, "POST", "/operators/bob@example.com/deactivation")
    second = await asked(served, "POST", "/operators/bob@example.com/deactivation")
    assert first.json == second.json
    for _ in range(2):
        again = await asked(served, "DELETE", "/operators/bob@example.com/deactivation")
        assert (again.status, again.json["deactivated_at"]) == (200, None)
    taken = await asked(served, "POST", "/operators", {"email": "BOB@example.com", "role": "owner"})
    assert (taken.status, taken.json["code"]) == (409, "operator_exists")


async def test_role_of_somebody_who_is_signed_in_holds_for_their_next_session(served: Served) -> None:
    await owner(served)
    browser = Browser(served)
    path = await invited(served, "bob@example.com", "read-only")
    await browser.set_up(path)
    assert (await browser.get("/manager/operators")).status == 403
    assert (await asked(served, "PUT", "/operators/bob@example.com/role", {"role": "admin"})).status == 200
    await browser.sign_in("bob@example.com")
    page = await browser.get("/manager/operators")
    assert page.status == 200
    assert b"Invite an operator" not in page.body


async def test_owner_invites_on_the_page_and_the_link_works(served: Served) -> None:
    browser = await owner(served)
    await browser.get("/manager/operators")
    made = await browser.post("/manager/operators/invite", {"email": "bob@example.com", "role": "admin"})
    assert made.status == 200
    link = made.body.decode().partition("/manager/set-up/")[2].partition("<")[0]
    assert (await Browser(served).set_up(f"/manager/set-up/{link}")).status == 303
    taken = await browser.post("/manager/operators/invite", {"email": "bob@example.com", "role": "admin"})
    assert taken.status == 409
    assert b"is an operator already" in taken.body
    served.hands.move(seconds=601)
    late = await browser.post("/manager/operators/invite", {"email": "eve@example.com", "role": "admin"})
    assert late.headers["Location"].startswith("/manager/sign-in?again=1")
    assert len(await operators_of(served)) == 2
