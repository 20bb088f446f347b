"""/clients: who may fetch, make and end API clients, and that nobody gets further than they were let."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from admit.accounts.apps import App
from tests.contract.served import Answered, Served
from tests.contract.signin_desk import device

OWNER = "owner@example.com"
CONNECT = ["CONNECT_CLIENT"]


@pytest.fixture
async def app(served: Served) -> App:
    return await served.app()


async def token(served: Served, **body: object) -> Answered:
    return await served.ask("POST", "/notes/token", json=body)


async def mailed(served: Served, email: str = OWNER, scopes: Sequence[str] = CONNECT) -> dict[str, Any]:
    """What step 2 sends after a mail with a code for `scopes`."""
    before = len(served.mails)
    asked = {"grant_type": "otp", "email": email, "scopes": list(scopes)}
    answer = await token(served, **asked)
    assert answer.status == 200, answer.body
    async with asyncio.timeout(20):
        while len(served.mails) == before:
            await asyncio.sleep(0.02)  # the worker mails it
    return asked | {"otp_id": answer.json["otp_id"], "otp": served.mails[-1].mail.otp}


async def connecting(served: Served) -> dict[str, str]:
    """The header of an owner who has typed the code."""
    answer = await token(served, **await mailed(served))
    return {"Authorization": f"Bearer {answer.json['accessToken']}"}


async def managing(served: Served, app: App, scopes: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A client with `scopes`, and its header."""
    made = await served.client(app, scopes)
    answer = await token(
        served,
        grant_type="client_credentials",
        client_id=made.client_id,
        client_secret=made.client_secret,
        scopes=list(scopes),
        expires_in="10d",
    )
    return made.client_id, {"Authorization": f"Bearer {answer.json['accessToken']}"}


async def post(served: Served, path: str, headers: dict[str, str], **body: object) -> Answered:
    return await served.ask("POST", f"/notes{path}", headers=headers, json=body)


async def test_a_code_to_connect_signs_nobody_in_and_a_code_to_sign_in_connects_nobody(
    served: Served, app: App
) -> None:
    to_connect = await mailed(served)
    as_person = to_connect | {"scopes": ["ACCESS_DB"], "public_key": device().public_key.pem}
    assert (await token(served, **as_person)).status == 401
    to_sign_in = await mailed(served, scopes=["ACCESS_DB"])
    assert (await token(served, **to_sign_in | {"scopes": CONNECT})).status == 401
    assert (await token(served, **to_connect)).status == 200


async def test_a_code_connects_once_however_many_try(served: Served, app: App) -> None:
    step_2 = await mailed(served)
    answers = await asyncio.gather(*(token(served, **step_2) for _ in range(5)))
    assert sorted(each.status for each in answers) == [200, 401, 401, 401, 401]


async def test_scopes_to_connect_come_alone_and_to_nobody_by_another_grant(served: Served, app: App) -> None:
    asked = {"grant_type": "otp", "email": OWNER}
    for scopes in (["CONNECT_CLIENT", "ACCESS_DB"], ["MANAGE_DB"], ["ACCESS_DB", "GLOBAL_READ"]):
        assert (await token(served, **asked, scopes=scopes)).status == 403


async def test_the_token_of_a_connecting_owner_does_nothing_else(served: Served, app: App) -> None:
    await served.write(app, {"userId": OWNER, "type": "prod"})
    headers = await connecting(served)
    for method, path in (
        ("GET", "/users"),
        ("GET", "/clients"),
        ("GET", "/export/stream"),
        ("POST", "/whitelist"),
        ("POST", "/sync"),
        ("DELETE", f"/users/{OWNER}"),
    ):
        answer = await served.ask(method, f"/notes{path}", headers=headers, json={})
        assert (answer.status, answer.json["code"]) == (403, "insufficient_scope"), path
    assert (await served.ask("GET", "/notes/token/validate", headers=headers)).status == 401
    assert (await post(served, "/clients/connect", headers)).status == 200


async def test_the_token_of_a_connecting_owner_ends_in_minutes(served: Served, app: App) -> None:
    headers = await connecting(served)
    served.hands.move(seconds=301)
    assert (await post(served, "/clients/connect", headers)).status == 401


async def test_who_lost_the_app_meanwhile_does_not_connect(served: Served, app: App) -> None:
    headers = await connecting(served)
    _, manager = await managing(served, app, ["MANAGE_DB"])
    await served.ask(
        "POST", "/api/apps/notes/owners", headers=served.command(), json={"email": "b@example.com"}
    )
    assert (await post(served, "/clients/delete", manager, email=OWNER)).json == {"ok": True, "numClients": 1}
    answer = await post(served, "/clients/connect", headers)
    assert (answer.status, answer.json["code"]) == (403, "not_an_owner")


async def test_a_person_manages_nothing(served: Served, app: App) -> None:
    for headers, status in (({}, 401), (served.bearer(app, OWNER), 403)):
        for path in ("/clients/connect", "/clients/add", "/clients/delete", "/clients/rotate", "/whitelist"):
            assert (await post(served, path, headers)).status == status, path
        assert (await served.ask("GET", "/notes/clients", headers=headers)).status == status
        for path in ("push", "reset", "test-send"):
            assert (await post(served, f"/templates/{path}", headers)).status == status


async def test_a_client_passes_on_no_more_than_it_may_do(served: Served, app: App) -> None:
    everything = await served.client(app)
    own, manager = await managing(served, app, ["MANAGE_DB", "ACCESS_DB"])
    for kind in (True, False):
        more = await post(
            served,
            "/clients/add",
            manager,
            email="b@example.com",
            scopes=["GLOBAL_READ"],
            serviceAccount=kind,
        )
        assert (more.status, more.json["code"]) == (403, "insufficient_scope")
    assert (await post(served, "/clients/rotate", manager, clientId=everything.client_id)).status == 403
    rotated = await post(served, "/clients/rotate", manager)
    assert rotated.json["oldClientId"] == own
    fewer = await post(served, "/clients/add", manager, email="b@example.com", scopes=["ACCESS_DB"])
    assert fewer.json["ok"] is True


async def test_a_client_that_waits_cannot_be_rotated_into_a_key(served: Served, app: App) -> None:
    _, manager = await managing(served, app, ["MANAGE_DB"])
    added = await post(served, "/clients/add", manager, email="b@example.com", scopes=["MANAGE_DB"])
    answer = await post(served, "/clients/rotate", manager, clientId=added.json["clientId"])
    assert (answer.status, answer.json["code"]) == (404, "client_not_found")


async def test_the_tokens_of_a_replaced_client_end_with_it(served: Served, app: App) -> None:
    _, headers = await managing(served, app, ["MANAGE_DB"])
    assert (await post(served, "/clients/rotate", headers, oldClientExpiryDays=2)).status == 200
    assert (await served.ask("GET", "/notes/clients", headers=headers)).status == 200
    served.hands.move(days=2)
    answer = await served.ask("GET", "/notes/clients", headers=headers)
    assert (answer.status, answer.json["code"]) == (401, "invalid_token")


async def test_a_second_rotation_never_lets_the_former_client_live_longer(served: Served, app: App) -> None:
    _, headers = await managing(served, app, ["MANAGE_DB"])
    ends = [
        (await post(served, "/clients/rotate", headers, oldClientExpiryDays=days)).json["oldClientExpiresAt"]
        for days in (3, 80, 1)
    ]
    assert ends[0] == ends[1] > ends[2]


@pytest.mark.parametrize("days", [0, -1, 91, "7"])
async def test_a_replaced_client_ends_within_ninety_days(served: Served, app: App, days: object) -> None:
    _, headers = await managing(served, app, ["MANAGE_DB"])
    assert (await post(served, "/clients/rotate", headers, oldClientExpiryDays=days)).status == 400


async def test_rivals_who_connect_get_one_waiting_client_between_them(served: Served, app: App) -> None:
    _, manager = await managing(served, app, ["MANAGE_DB"])
    await post(served, "/clients/add", manager, email="b@example.com", scopes=["MANAGE_DB"])
    step_2 = await mailed(served, "b@example.com")
    headers = {"Authorization": f"Bearer {(await token(served, **step_2)).json['accessToken']}"}
    answers = await asyncio.gather(*(post(served, "/clients/connect", headers) for _ in range(4)))
    assert sorted(each.status for each in answers) == [200, 403, 403, 403]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/create-db", "create_db_not_built"),
        ("POST", "/token", "create_db_not_built"),
        ("POST", "/notes/delete-db", "delete_db_not_built"),
        ("POST", "/notes/import/yjs", "yjs_not_built"),
    ],
)
async def test_what_is_not_built_answers_501(door: Served, method: str, path: str, code: str) -> None:
    await door.app()
    answer = await door.ask(method, path, json={})
    assert (answer.status, answer.json["code"]) == (501, code)
    for what in ("blobs", "yjs"):
        assert (await door.ask("GET", f"/notes/export/{what}")).status == 404


@pytest.mark.parametrize(("method", "path"), [("GET", "/notes/blob/1:x"), ("POST", "/notes/import/blobs")])
async def test_blobs_are_not_found_so_that_the_addon_keeps_them_inline(
    door: Served, method: str, path: str
) -> None:
    await door.app()
    answer = await door.ask(method, path, json={})
    assert (answer.status, answer.json["code"]) == (404, "blobs_not_built")
