"""Testing a policy: who decides is really asked, about nobody real, and nothing comes of the answer."""

from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from admit.accounts.apps import App
from tests.contract.served import Answered, Served
from tests.contract.task_desk import TaskDesk, desk
from tests.contract.test_admin_api import operator_token
from tests.receiver import PROD, Receiver, Script, always, in_turn, receiving

__all__ = ["desk"]

ADA = "ada@example.com"


async def api(served: Served, method: str, path: str, body: object = None) -> Answered:
    return await served.ask(method, f"/api/apps/notes{path}", headers=served.command(), json=body)


async def hooked(served: Served, receiver: Receiver, **more: object) -> None:
    put = await api(served, "PUT", "/policy", {"kind": "webhook", "url": receiver.url, **more})
    assert put.status == 200, put.body


async def tried(served: Served, **body: object) -> dict[str, Any]:
    answer = await api(served, "POST", "/policy/test", {"email": ADA, **body})
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


@pytest.fixture
async def app(served: Served) -> App:
    return await served.app()


async def nothing_has_come_of_it(served: Served) -> None:
    assert (await api(served, "GET", "/users")).json["users"] == []
    assert (await api(served, "GET", "/admissions")).json["admissions"] == []
    assert (await api(served, "GET", "/events")).json["events"] == []
    assert (await api(served, "GET", "/seats")).json["taken"] == 0


async def test_hook_is_asked_as_at_a_first_login_under_the_id_of_a_test(served: Served, app: App) -> None:
    async with receiving(always(**PROD)) as receiver:
        await hooked(served, receiver)
        secret = (await api(served, "GET", "/policy?secret=true")).json["hook_secret"]
        result = await tried(served)
    [call] = receiver.calls
    assert call.json == {"userId": ADA, "email": ADA}
    assert call.headers["webhook-id"].startswith("test_")
    Webhook(secret).verify(call.body, call.headers)
    assert (result["outcome"], result["type"], result["fault"]) == ("admit", "prod", None)
    assert (result["name"], result["data"]["plan"]) == ("Ada Example", "team")
    [attempt] = result["attempts"]
    assert attempt["request"]["headers"]["webhook-id"] == call.headers["webhook-id"]
    assert attempt["request"]["body"] == call.body.decode()
    assert (attempt["address"], attempt["tls"]) == ("127.0.0.1", None)
    assert attempt["response"]["status"] == 200
    assert '"action": "prod"' in attempt["response"]["body"]
    assert (result["attempts_made"], result["attempts_max"], result["timeout_seconds"]) == (1, 3, 5)
    await nothing_has_come_of_it(served)


async def test_full_question_says_that_it_is_a_test(served: Served, app: App) -> None:
    async with receiving(always(**PROD)) as receiver:
        await hooked(served, receiver, payload="full")
        await tried(served)
    [call] = receiver.calls
    assert call.json["test"] is True
    assert call.json["signIn"]["method"] == "email_code"


@pytest.mark.parametrize(
    ("on_failure", "outcome", "type_", "code"),
    [("refuse", "refuse", None, "WEBHOOK_ERROR"), ("eval", "admit", "eval", None)],
)
async def test_failure_is_told_with_what_the_policy_makes_of_it(
    served: Served, app: App, on_failure: str, outcome: str, type_: str | None, code: str | None
) -> None:
    async with receiving(always(500)) as receiver:
        await hooked(served, receiver, on_failure=on_failure)
        result = await tried(served)
    assert result["fault"] == "The endpoint answered with status 500; a decision comes with 200."
    assert (result["outcome"], result["type"], result["code"]) == (outcome, type_, code)
    assert result["on_failure"] == on_failure
    await nothing_has_come_of_it(served)


async def test_every_attempt_is_shown(served: Served, app: App) -> None:
    async with receiving(in_turn(always(503), always(**PROD))) as receiver:
        await hooked(served, receiver)
        result = await tried(served)
    assert [each["response"]["status"] for each in result["attempts"]] == [503, 200]
    assert result["attempts_made"] == len(receiver.calls) == 2


async def test_policy_that_is_not_in_force_is_tried(served: Served, app: App) -> None:
    async with receiving(always(ok=True, action="reject")) as receiver:
        result = await tried(served, policy={"kind": "webhook", "url": receiver.url, "timeout_seconds": 2})
    assert (result["outcome"], result["code"], result["timeout_seconds"]) == (
        "refuse",
        "USER_NOT_ACCEPTED",
        2,
    )
    assert (await api(served, "GET", "/policy")).json["policy"]["kind"] == "eval"


async def test_who_is_not_there_is_a_fault_in_a_sentence(served: Served, app: App) -> None:
    policy = {"kind": "webhook", "url": "http://127.0.0.1:9/decide", "timeout_seconds": 1}
    result = await tried(served, policy=policy)
    assert "There is no connection to 127.0.0.1" in result["fault"]
    assert all(each["response"] is None and each["message"] for each in result["attempts"])


async def test_seats_that_are_taken_are_told(served: Served, app: App) -> None:
    await api(served, "PUT", "/seats", {"limit": 0})
    async with receiving(always(**PROD)) as receiver:
        await hooked(served, receiver)
        result = await tried(served)
    assert result["code"] == "NO_SEATS_AVAILABLE"
    assert "All 0 seats of the app are taken." in result["reason"]


async def test_of_a_long_answer_the_beginning_is_shown(served: Served, app: App) -> None:
    async with receiving(long_answer()) as receiver:
        await hooked(served, receiver)
        result = await tried(served)
    [attempt] = result["attempts"]
    assert len(attempt["response"]["body"]) == 16_000
    assert attempt["response"]["truncated"]


def long_answer() -> Script:
    async def script(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="x" * 20_000)

    return script


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "Whom to imagine?"),
        ({"email": ADA}, "Nobody would be asked about them: The policy admits everyone as eval."),
        ({"email": ADA, "policy": {"kind": "webhook", "url": "http://10.0.0.1/"}}, "10.0.0.1"),
        ({"email": ADA, "policy": {"kind": "webhook", "url": "nowhere"}}, "needs a URL like"),
        ({"email": ADA, "policy": {"kind": "prod", "url": "http://a.example/"}}, "url"),
        ({"email": ADA, "way_in": "fax"}, "no way into notes"),
        ({"email": ADA, "surprise": 1}, "surprise"),
    ],
)
async def test_what_cannot_be_tested_is_refused(
    served: Served, app: App, body: dict[str, Any], said: str
) -> None:
    answer = await api(served, "POST", "/policy/test", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert said in answer.json["message"]


async def test_who_may_not_change_the_policy_may_not_test_one(served: Served, app: App) -> None:
    token = await operator_token(served, "apps:read", "users:write")
    async with receiving(always(**PROD)) as receiver:
        policy = {"kind": "webhook", "url": receiver.url}
        headers = {"Authorization": f"Bearer {token}"}
        answer = await served.ask(
            "POST", "/api/apps/notes/policy/test", headers=headers, json={"email": ADA, "policy": policy}
        )
    assert answer.status == 403
    assert receiver.calls == []


# Tasks

DECIDE = """
    @task.decides
    def decide(context):
        print("asked about", context.email)
        if context.email.startswith("out"):
            return task.refuse("NOT_ON_THE_LIST", "Ask the office.", reason="not on it")
        return task.admit("prod", data={"plan": "team"})
"""


async def test_task_is_run_of_which_nothing_is_kept(desk: TaskDesk) -> None:
    await desk.load(DECIDE)
    put = await api(desk.served, "PUT", "/policy", {"kind": "task", "task": "decide"})
    assert put.status == 200, put.body
    result = await tried(desk.served)
    assert (result["outcome"], result["type"], result["data"]) == ("admit", "prod", {"plan": "team"})
    assert result["attempts"] == []
    assert result["task"]["told"]["email"] == ADA
    assert result["task"]["lines"][0]["text"] == "asked about ada@example.com"
    out = await tried(desk.served, email="out@example.com")
    assert (out["outcome"], out["code"], out["message"]) == ("refuse", "NOT_ON_THE_LIST", "Ask the office.")
    assert (await api(desk.served, "GET", "/runs")).json["runs"] == []
    await nothing_has_come_of_it(desk.served)


async def test_task_that_raises_is_a_fault_after_as_many_attempts(desk: TaskDesk) -> None:
    await desk.load("@task.decides\ndef decide(context):\n    raise ValueError('no list')\n")
    result = await tried(desk.served, policy={"kind": "task", "task": "decide"})
    assert "ValueError: no list" in result["fault"]
    assert (result["outcome"], result["attempts_made"]) == ("refuse", 3)


async def test_server_without_tasks_says_so(served: Served, app: App) -> None:
    await api(served, "PUT", "/policy", {"kind": "task", "task": "decide"})
    answer = await api(served, "POST", "/policy/test", {"email": ADA})
    assert (answer.status, answer.json["code"]) == (409, "no_tasks")
