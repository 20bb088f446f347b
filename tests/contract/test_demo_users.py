"""Demo users: anybody may sign in as one, the API alone makes them, and they cost and can do little."""

from typing import Any

import pytest
from sqlalchemy import func, select

from admit.enrollment.tables import admissions
from tests.contract.served import Answered, Served, serving
from tests.contract.signin_desk import device
from tests.contract.token_desk import ask, asked_for_code, refreshed, signed_refresh

ALICE = "alice@demo.local"


async def demo(served: Served, demo_user: str = ALICE, **fields: Any) -> Answered:
    body = {
        "grant_type": "demo",
        "demo_user": demo_user,
        "scopes": ["ACCESS_DB"],
        "public_key": device().public_key.pem,
    }
    return await ask(served, body | fields)


async def test_a_demo_user_of_the_api_signs_in_without_a_proof(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": ALICE, "type": "demo", "data": {"tour": 1}})
    body = (await demo(served)).json
    assert (body["type"], body["userType"], body["claims"]["sub"]) == ("tokens", "demo", ALICE)
    assert (body["claims"]["license"], body["claims"]["scopes"], body["data"]) == (
        "ok",
        ["ACCESS_DB"],
        {"tour": 1},
    )
    assert not {"evalDaysLeft", "userValidUntil"} & set(body)
    again = await refreshed(served, signed_refresh(served, body["refreshToken"]))
    assert (again.status, again.json["userType"]) == (200, "demo")


async def test_a_demo_license_has_no_end(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": ALICE, "type": "demo", "validUntil": "2020-01-01", "evalDaysLeft": 0})
    body = (await demo(served)).json
    assert body["claims"]["license"] == "ok"
    served.hands.move(days=4_000)
    assert (await demo(served)).json["claims"]["license"] == "ok"


async def test_nobody_enrolls_by_the_grant_demo(served: Served) -> None:
    app = await served.app()
    refused = await demo(served, "nobody@demo.local")
    assert (refused.status, refused.json["code"]) == (403, "USER_NOT_REGISTERED")
    listed = await served.ask("GET", "/api/apps/notes/users", headers=served.command())
    assert listed.json["users"] == []
    rows = await served.gateway.db.read(
        lambda tx: tx.execute(
            select(func.count()).select_from(admissions).where(admissions.c.app_id == app.app_id)
        ).scalar_one()
    )
    assert rows == 0


@pytest.mark.parametrize(
    "who", ["ada@example.com", "ada@demo.local.example.com", "ada", "", "a@x.com as b@demo.local"]
)
async def test_other_people_are_no_demo_users(served: Served, who: str) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    assert (await demo(served, who)).status == 400


async def test_the_grant_gives_access_and_nothing_more_and_needs_a_key(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": ALICE, "type": "demo"})
    assert (await demo(served, scopes=["ACCESS_DB", "GLOBAL_READ"])).status == 403
    assert (await demo(served, public_key=None)).status == 400
    refused = await asked_for_code(served, ALICE)
    assert (refused.status, "demo" in refused.body.decode()) == (400, True)


async def test_a_deactivated_demo_user_is_closed(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": ALICE, "type": "demo", "deactivated": True})
    refused = await demo(served)
    assert (refused.status, refused.json["code"]) == (403, "USER_DEACTIVATED")


async def test_a_visitor_of_a_demo_cannot_delete_its_user(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": ALICE, "type": "demo"})
    headers = {"Authorization": f"Bearer {(await demo(served)).json['accessToken']}"}
    refused = await served.ask("DELETE", f"/notes/users/{ALICE}", headers=headers)
    assert (refused.status, refused.json["code"]) == (403, "insufficient_scope")
    assert (await demo(served)).status == 200


async def test_visitors_of_a_demo_do_not_use_up_each_others_limit(served_url: str, tmp_path: Any) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("tokens_per_user = {count = 2, window_seconds = 3600}\n")
    async with serving(served_url, rate_limits=str(limits)) as served:
        app = await served.app()
        await served.write(app, {"userId": ALICE, "type": "demo"})
        for number in (1, 2, 3):
            token = (await demo(served, public_key=device(number).public_key.pem)).json["refreshToken"]
            body = signed_refresh(served, token, by=device(number))
            assert [(await refreshed(served, body)).status for _ in range(3)] == [200, 200, 429]


async def test_a_demo_does_not_fill_the_house_with_sessions(served_url: str, tmp_path: Any) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("demo_logins_per_address = {count = 3, window_seconds = 3600}\n")
    async with serving(served_url, rate_limits=str(limits)) as served:
        app = await served.app()
        await served.write(app, {"userId": ALICE, "type": "demo"})
        answers = [await demo(served) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["Retry-After"]
