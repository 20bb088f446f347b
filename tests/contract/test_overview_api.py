"""The overview of an app: figures that agree with what happened, and what needs attention among them."""

from typing import Any

import pytest
from sqlalchemy import update

from admit.accounts.apps import App
from admit.clock import DAY_MS
from admit.jobs import queue
from admit.jobs.tables import jobs
from admit.signin import mail_job
from admit.storage.transaction import Transaction
from admit.webhooks.tables import endpoints
from tests.contract.command_line import CommandLine
from tests.contract.served import Answered, Served
from tests.contract.signin_desk import device
from tests.contract.token_desk import signed_in
from tests.receiver import PROD, always, in_turn, receiving


async def api(served: Served, method: str, path: str, body: object = None, token: str = "") -> Answered:
    headers = {"Authorization": f"Bearer {token}"} if token else served.command()
    return await served.ask(method, f"/api/apps/notes{path}", headers=headers, json=body)


async def overview(served: Served, days: int = 7) -> Any:
    answer = await api(served, "GET", f"/overview?days={days}")
    assert answer.status == 200, answer.body
    return answer.json


async def codes(served: Served) -> list[str]:
    return [each["code"] for each in (await overview(served))["attention"]]


def came(found: Any) -> dict[str, int]:
    names = ("admitted_eval", "admitted_prod", "refused", "unanswered")
    return {name: sum(each[name] for each in found["decisions"]) for name in names}


@pytest.fixture
async def app(served: Served) -> App:
    return await served.app()


async def test_new_app_has_its_first_steps_before_it(served: Served) -> None:
    await served.app(origins=())
    found = await overview(served)
    assert {step["name"]: step["done"] for step in found["steps"]} == {
        "origin": False,
        "policy": False,
        "endpoint": False,
        "sign_in": False,
    }
    assert found["people"] == found["devices"] == 0
    assert found["asked"] is None
    assert found["attention"] == []


async def test_steps_are_done_when_they_were_taken(served: Served, app: App) -> None:
    await api(served, "PUT", "/policy", {"kind": "prod"})
    await api(served, "POST", "/endpoints", {"url": "https://example.com/hook"})
    await signed_in(served, "ada@example.com")
    found = await overview(served)
    assert all(step["done"] for step in found["steps"])


async def test_figures_are_those_of_what_happened(served: Served, app: App) -> None:
    script = in_turn(always(**PROD), always(ok=True, action="eval"), always(ok=False), always(500))
    async with receiving(script) as hook:
        await api(served, "PUT", "/policy", {"kind": "webhook", "url": hook.url})
        for name in ("ada", "bob", "carla", "dora"):
            await signed_in(served, f"{name}@example.com")
    await signed_in(served, "ada@example.com", by=device(2))
    found = await overview(served)
    assert came(found)["admitted_prod"] + came(found)["admitted_eval"] == 2
    assert came(found)["refused"] + came(found)["unanswered"] == 2
    assert found["people"] == 2
    assert found["devices"] == 3
    assert (found["asked"]["asked"], found["asked"]["failed"]) == (4, came(found)["unanswered"])
    assert found["by"] == "day"
    assert (await overview(served, 1))["by"] == "hour"
    assert came(await overview(served, 1)) == came(found)


async def test_devices_that_were_not_heard_of_are_not_counted(served: Served, app: App) -> None:
    await signed_in(served, "ada@example.com")
    served.hands.move(days=8)
    await signed_in(served, "bob@example.com", by=device(2))
    assert (await overview(served, 7))["devices"] == 1
    assert (await overview(served, 28))["devices"] == 2


async def test_decisions_of_before_the_days_are_left_out(served: Served, app: App) -> None:
    await signed_in(served, "ada@example.com")
    served.hands.move(days=7)
    assert came(await overview(served, 7))["admitted_eval"] == 0
    assert came(await overview(served, 8))["admitted_eval"] == 1


@pytest.mark.parametrize("days", ["0", "91", "x", "", "7.5"])
async def test_days_that_are_none_are_refused(served: Served, app: App, days: str) -> None:
    answer = await api(served, "GET", f"/overview?days={days}")
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_token_sees_the_parts_that_it_may(served: Served, app: App) -> None:
    await api(served, "POST", "/endpoints", {"url": "https://example.com/hook"})
    headers = served.command()
    made = await served.ask(
        "POST", "/api/tokens", headers=headers, json={"scopes": ["apps:read"], "app": "notes"}
    )
    found = (await api(served, "GET", "/overview", token=made.json["token"])).json
    assert (found["people"], found["endpoints"], found["failed_runs"]) == (None, None, None)
    other = await served.ask("POST", "/api/tokens", headers=headers, json={"scopes": ["users:read"]})
    assert (await api(served, "GET", "/overview", token=other.json["token"])).status == 403


async def test_endpoint_that_fails_needs_attention_and_comes_first(served: Served, app: App) -> None:
    for number in range(3):
        made = await api(served, "POST", "/endpoints", {"url": f"https://example.com/{number}"})
    endpoint_id, since = made.json["id"], served.hands() - 600_000

    def fail(tx: Transaction) -> int:
        failing = update(endpoints).where(endpoints.c.endpoint_id == endpoint_id)
        return tx.execute(failing.values(failing_since=since)).rowcount

    assert await codes(served) == []
    await served.gateway.db.write(fail)
    found = await overview(served)
    [needed] = found["attention"]
    assert (needed["code"], needed["about"], needed["since"]) == ("endpoint_failing", endpoint_id, since)
    assert needed["urgent"]
    assert found["endpoints"][0]["id"] == endpoint_id
    assert found["endpoints_total"] == 3


async def test_seats_that_run_out_need_attention(served: Served, app: App) -> None:
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    await api(served, "PUT", "/seats", {"limit": 3})
    assert await codes(served) == []
    await api(served, "PUT", "/seats", {"limit": 2})
    assert await codes(served) == ["seats_few"]
    await api(served, "PUT", "/seats", {"limit": 1})
    assert await codes(served) == ["seats_full"]


async def test_hook_without_answers_needs_attention(served: Served, app: App) -> None:
    async with receiving(always(500)) as hook:
        await api(served, "PUT", "/policy", {"kind": "webhook", "url": hook.url})
        await signed_in(served, "ada@example.com")
    [needed] = (await overview(served))["attention"]
    assert needed["code"] == "hook_failing"
    assert needed["urgent"]
    assert "had no answer for 1 of 1 people" in needed["title"]
    served.hands.move(days=1, seconds=3_600)
    assert await codes(served) == []


async def test_mails_that_were_given_up_need_attention(served: Served, app: App) -> None:
    await served.write(app, {"userId": "ada@example.com", "type": "eval"})

    def give_up(tx: Transaction) -> None:
        now = served.hands()
        for number in range(2):
            queue.enqueue(
                tx,
                app_id=app.app_id,
                kind=mail_job.KIND,
                payload="",
                now=now + DAY_MS,
                job_id=f"job_{number}",
            )

    def fail(tx: Transaction) -> int:
        failed_at = served.hands()
        gone = update(jobs).where(jobs.c.app_id == app.app_id, jobs.c.kind == mail_job.KIND)
        values = {
            "state": "dead",
            "failed_at": failed_at,
            "finished_at": failed_at,
            "detail": "No such host.",
        }
        return tx.execute(gone.values(**values)).rowcount

    await served.gateway.db.write(give_up)
    assert await served.gateway.db.write(fail) == 2
    [needed] = (await overview(served))["attention"]
    assert needed["code"] == "mails_failed"
    assert needed["title"] == "2 mails could not be sent in 24 hours"
    assert "No such host" in needed["text"]


async def test_app_with_people_that_no_page_may_call_needs_attention(served: Served) -> None:
    app = await served.app(origins=())
    assert await codes(served) == []
    await served.write(app, {"userId": "ada@example.com", "type": "eval"})
    assert await codes(served) == ["no_origin"]


def test_command_shows_the_same(admit: CommandLine) -> None:
    admit.done("app", "create", "notes", "--owner", "ada@example.com")
    admit.post("apps/notes/users", [{"userId": "bob@example.com", "type": "prod"}])
    admit.done("app", "seats", "notes", "1")
    shown = admit.done("app", "overview", "notes", "--days", "28")
    assert "All 1 seats are taken" in shown
    assert "1 of 1" in shown
    found = admit.json("app", "overview", "notes")
    assert (found["people"], found["days"]) == (1, 7)
    assert admit("app", "overview", "nobody").code != 0
    assert admit("app", "overview", "notes", "--days", "91").code == 2
