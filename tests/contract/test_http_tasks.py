"""HTTP tasks: requests that the operator's own code lets in and answers, once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from sqlalchemy import select

from admit.enrollment.departures import delete_person
from admit.jobs.tables import jobs
from admit.tasks.run_requests import Executed
from admit.web import tasks_api
from tests.contract.served import ORIGIN, Answered
from tests.contract.task_desk import TaskDesk, desk, tasks_at, until

__all__ = ["desk"]

WELCOME = """
    @task.http("/welcome", methods=["GET", "POST"], authenticate=task.anybody)
    def welcome(context):
        if context.method == "GET":
            return f"Hello {context.query['name']}"
        return {"told": context.json(), "type": context.headers["content-type"], "path": context.path}
"""


@pytest.fixture
async def door(served_sqlite_url: str, tmp_path: Path) -> AsyncIterator[TaskDesk]:
    """A server with tasks on SQLite, for what the database has no part in."""
    async with tasks_at(served_sqlite_url, tmp_path / "tasks") as running:
        yield running


async def ask(desk: TaskDesk, method: str, path: str, **options: Any) -> Answered:
    return await desk.served.ask(method, f"/notes/tasks{path}", **options)


async def test_json_goes_in_and_comes_out_and_the_run_is_kept(desk: TaskDesk) -> None:
    await desk.load(WELCOME)
    answer = await ask(desk, "POST", "/welcome", json={"a": 1})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == {"told": {"a": 1}, "type": "application/json", "path": "/welcome"}
    [run] = await desk.page()
    assert (run.kind, run.state, run.run_id) == ("request", "done", answer.headers["X-Run-Id"])
    greeting = await ask(desk, "GET", "/welcome?name=Ada")
    assert (greeting.body, greeting.headers["Content-Type"]) == (b"Hello Ada", "text/plain; charset=utf-8")


async def test_verbs_that_are_not_declared_are_refused_with_those_that_are(door: TaskDesk) -> None:
    await door.load(WELCOME)
    refused = await ask(door, "DELETE", "/welcome")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, POST, OPTIONS")
    told = await ask(door, "OPTIONS", "/welcome")
    assert (told.status, told.headers["Allow"]) == (204, "GET, POST, OPTIONS")
    head = await ask(door, "HEAD", "/welcome?name=Ada")
    assert (head.status, head.body) == (200, b"")
    assert (await ask(door, "POST", "/elsewhere")).status == 404
    assert (await ask(door, "POST", "/welcome/")).status == 404


async def test_pages_of_the_apps_origins_may_ask_and_no_others(door: TaskDesk) -> None:
    await door.load(WELCOME)
    asks = {"Access-Control-Request-Method": "POST"}
    ours = await ask(door, "OPTIONS", "/welcome", headers={"Origin": ORIGIN} | asks)
    assert ours.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Idempotency-Key" in ours.headers["Access-Control-Allow-Headers"]
    others = await ask(door, "POST", "/welcome", json={}, headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in others.headers


GUARDED = """
    @task.http("/open", authenticate=task.anybody, body_bytes_max=100)
    def open_to_all(context):
        return {"caller": context.caller and context.caller.user_id}

    @task.http("/mine", authenticate=task.signed_in)
    def mine(context):
        return {"caller": context.caller.user_id}

    def says(context):
        return {"yes": True, "1": 1, "none": None, "raise": 1 / (context.query["say"] != "raise")}[
            context.query["say"]
        ]

    @task.http("/guarded", authenticate=says)
    def guarded(context):
        return "in"
"""


async def test_only_true_lets_a_request_in_and_who_is_turned_away_leaves_nothing(desk: TaskDesk) -> None:
    await desk.load(GUARDED)
    statuses = {
        say: (await ask(desk, "POST", f"/guarded?say={say}")).status for say in ("1", "none", "raise")
    }
    assert statuses == {"1": 401, "none": 401, "raise": 500}
    assert await desk.page() == []
    assert (await ask(desk, "POST", "/guarded?say=yes")).body == b"in"
    assert len(await desk.page()) == 1


async def test_only_a_valid_access_token_of_the_app_makes_a_caller(desk: TaskDesk) -> None:
    await desk.load(GUARDED)
    served, app = desk.served, desk.app
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    theirs = await served.app("elsewhere")
    await served.write(theirs, {"userId": "ada@example.com", "type": "prod"})
    good, foreign = served.bearer(app), served.bearer(theirs)
    expired = served.bearer(app, seconds=1)
    served.hands.move(seconds=5)
    assert (await ask(desk, "POST", "/mine", headers=good)).json == {"caller": "ada@example.com"}
    for headers in ({}, foreign, expired, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp4"}):
        answer = await ask(desk, "POST", "/mine", headers=headers)
        assert answer.status == 401, headers
        assert (await ask(desk, "POST", "/open", headers=headers)).json == {"caller": None}
    await served.write(app, {"userId": "ada@example.com", "deactivated": True})
    assert (await ask(desk, "POST", "/mine", headers=good)).status == 401


async def test_a_larger_body_than_declared_is_refused_unread(door: TaskDesk) -> None:
    await door.load(GUARDED)
    assert (await ask(door, "POST", "/open", data=b"x" * 100)).status == 200
    answer = await ask(door, "POST", "/open", data=b"x" * 101)
    assert (answer.status, answer.json["code"]) == (413, "too_large")


async def test_cookies_of_this_origin_reach_no_task(door: TaskDesk) -> None:
    await door.load(
        """
        @task.http("/headers", authenticate=task.anybody)
        def headers(context):
            return sorted(context.headers)
        """
    )
    told = (await ask(door, "POST", "/headers", headers={"Cookie": "a=b", "X-Mine": "1"})).json
    assert "x-mine" in told
    assert "cookie" not in told


REMEMBERS = """
    @task.http("/mine", authenticate=task.signed_in)
    def mine(context):
        print("for", context.caller.user_id)
        return {"plan of": context.caller.user_id, "run": context.run.id}
"""


async def test_what_somebody_has_asked_goes_with_them(desk: TaskDesk) -> None:
    await desk.load(REMEMBERS)
    served, user_id = desk.served, "ada@example.com"
    await served.write(desk.app, {"userId": user_id, "type": "prod"})
    key = {"Idempotency-Key": "1"}
    first = await ask(desk, "POST", "/mine", headers=served.bearer(desk.app) | key)
    again = await ask(desk, "POST", "/mine", headers=served.bearer(desk.app, seconds=60) | key)
    assert (first.status, first.json) == (200, again.json)
    run_id = first.headers["X-Run-Id"]
    assert (await desk.show(run_id)).run.uid is not None

    await delete_person(served.gateway.db, desk.app.app_id, user_id, served.hands())

    shown = await desk.show(run_id)
    assert (shown.run.kind, shown.run.state, shown.attempts[0].reply) == ("request", "done", "")
    assert await desk.lines() == []
    kept = select(jobs.c.payload).where(jobs.c.job_id == run_id)
    assert await served.gateway.db.read(lambda tx: tx.execute(kept).scalar_one()) == ""
    await served.write(desk.app, {"userId": user_id, "type": "prod"})  # somebody new
    other = await ask(desk, "POST", "/mine", headers=served.bearer(desk.app) | key)
    assert other.json["run"] != run_id


async def test_whose_user_is_deleted_while_they_are_let_in_is_not_answered(desk: TaskDesk) -> None:
    await desk.load(REMEMBERS)
    served, user_id = desk.served, "ada@example.com"
    await served.write(desk.app, {"userId": user_id, "type": "prod"})
    honest = desk.runs.authenticate

    async def slow(*arguments: Any) -> Any:
        result = await honest(*arguments)
        await delete_person(served.gateway.db, desk.app.app_id, user_id, served.hands())
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(desk.runs, "authenticate", slow)
        answer = await ask(desk, "POST", "/mine", headers=served.bearer(desk.app))
    assert (answer.status, answer.json["code"]) == (401, "invalid_token")
    assert await desk.page() == []


async def test_nobody_is_told_what_another_has_got_under_the_same_key(desk: TaskDesk) -> None:
    """Who asks is for the task to tell, by whatever header its operator has agreed on with them."""
    await desk.load(
        """
        @task.http("/secret", authenticate=lambda context: context.headers["x-api-key"] in ("a", "b"))
        def secret(context):
            return context.headers["x-api-key"]
        """
    )
    told = [
        (await ask(desk, "POST", "/secret", headers={"X-Api-Key": who, "Idempotency-Key": "1"})).body
        for who in ("a", "b", "a")
    ]
    assert told == [b"a", b"b", b"a"]
    assert len(await desk.page()) == 2


async def test_a_flood_is_sent_away_before_its_bodies_are_read(
    door: TaskDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await door.load(GUARDED)
    monkeypatch.setattr(tasks_api, "UNDER_WAY_MAX", 2)
    entered = asyncio.Semaphore(0)
    let_in = asyncio.Event()
    honest = door.runs.authenticate

    async def slow(*arguments: Any) -> Any:
        entered.release()
        await let_in.wait()
        return await honest(*arguments)

    monkeypatch.setattr(door.runs, "authenticate", slow)
    waiting = [asyncio.create_task(ask(door, "POST", "/open")) for _ in range(2)]
    for _ in waiting:
        await entered.acquire()
    refused = await ask(door, "POST", "/open", data=b"x" * 101)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
    let_in.set()
    assert [each.status for each in await asyncio.gather(*waiting)] == [200, 200]
    assert (await ask(door, "POST", "/open")).status == 200


async def test_an_answer_that_has_no_body_is_sent_without_one(door: TaskDesk) -> None:
    await door.load(
        """
        @task.http("/none", authenticate=task.anybody)
        def none(context):
            return task.response(204, text="HTTP/1.1 200 OK")
        """
    )
    for _ in range(3):  # the second and the third come over the same connection
        answer = await ask(door, "POST", "/none")
        assert (answer.status, answer.body) == (204, b"")


FAILING = """
    import os

    @task.http("/raises", authenticate=task.anybody)
    def raises(context):
        raise RuntimeError("a secret of the operator")

    @task.http("/crashes", authenticate=task.anybody)
    def crashes(context):
        os._exit(3)

    @task.http("/loops", authenticate=task.anybody, timeout=1)
    def loops(context):
        while True:
            pass
"""


@pytest.mark.parametrize(
    ("path", "status", "code", "outcome"),
    [
        ("/raises", 500, "task_failed", "raised"),
        ("/crashes", 500, "task_failed", "crashed"),
        ("/loops", 504, "task_timeout", "timeout"),
    ],
)
async def test_what_goes_wrong_is_told_by_its_run_and_nothing_else(
    desk: TaskDesk, path: str, status: int, code: str, outcome: str
) -> None:
    await desk.load(FAILING)
    answer = await ask(desk, "POST", path)
    assert (answer.status, answer.json["code"]) == (status, code)
    [run] = await desk.page()
    assert answer.json["message"].endswith(f"Its run is {run.run_id}.")
    assert b"secret" not in answer.body
    shown = await desk.show(run.run_id)
    assert (shown.run.state, [each.outcome for each in shown.attempts]) == ("failed", [outcome])


SLOW = """
    import time

    @task.http("/slow", authenticate=task.anybody, timeout=30)
    def slow(context):
        print("begun")
        time.sleep(1.5)
        context.db.users.create("slow@example.com", type="prod")
        return {"made": context.run.id}
"""


async def test_a_client_that_hangs_up_does_not_end_the_run(desk: TaskDesk) -> None:
    await desk.load(SLOW)
    impatient = aiohttp.ClientTimeout(total=0.8)
    with pytest.raises(TimeoutError):
        await ask(desk, "POST", "/slow", timeout=impatient)

    async def done() -> Any:
        return next((run for run in await desk.page() if run.state == "done"), None)

    await until(done)
    assert len(await desk.page()) == 1


async def test_a_slow_one_that_is_sent_again_under_its_key_runs_once(desk: TaskDesk) -> None:
    await desk.load(SLOW)
    key = {"Idempotency-Key": "order-7"}
    first = asyncio.create_task(ask(desk, "POST", "/slow", headers=key, json={}))

    async def begun() -> Any:
        return await desk.page() or None

    await until(begun)
    meanwhile = await ask(desk, "POST", "/slow", headers=key, json={})
    assert (meanwhile.status, meanwhile.json["code"]) == (409, "run_under_way")
    answer = await first
    again = await ask(desk, "POST", "/slow", headers=key, json={})
    assert (answer.status, again.status) == (200, 200)
    assert again.json == answer.json
    other = await ask(desk, "POST", "/slow", headers=key, json={"other": 1})
    assert (other.status, other.json["code"]) == (409, "idempotency_key_reused")
    assert len(await desk.page()) == 1
    for bad in ("", " ", "ä" * 10, "x" * 256):
        if bad.strip():
            answer = await ask(desk, "POST", "/slow", headers={"Idempotency-Key": bad}, json={})
            assert answer.status == 400


@pytest.mark.parametrize(
    "result",
    [
        b"",
        b"null",
        b'{"status":99}',
        b'{"status":101}',
        b'{"status":"200"}',
        b'{"status":200,"headers":{"a":1}}',
        b'{"status":200,"body":7}',
        b'{"status":200,"body":"\\ud800"}',
    ],
)
async def test_a_process_that_lies_about_its_answer_is_not_believed(
    door: TaskDesk, result: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await door.load(WELCOME)
    honest = door.runs.execute_now

    async def lying(*arguments: Any, **named: Any) -> Executed:
        return msgspec.structs.replace(await honest(*arguments, **named), result=result)

    monkeypatch.setattr(door.runs, "execute_now", lying)
    answer = await ask(door, "POST", "/welcome", json={})
    assert (answer.status, answer.json["code"]) == (500, "task_failed")


async def test_a_page_that_a_task_makes_has_no_origin_and_sets_no_headers_of_ours(
    door: TaskDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await door.load(WELCOME)
    told = {
        "Content-Type": "text/html",
        "X-Mine": "1",
        "Content-Security-Policy": "default-src *",
        "Set-Cookie": "a=b",
        "Access-Control-Allow-Origin": "*",
        "Content-Length": "3",
        "Transfer-Encoding": "chunked",
        "X-Split": "a\r\nSet-Cookie: b",
        "Bad Name": "x",
    }
    result = msgspec.json.encode({"status": 200, "headers": told, "body": "<script>1</script>"})
    honest = door.runs.execute_now

    async def lying(*arguments: Any, **named: Any) -> Executed:
        return msgspec.structs.replace(await honest(*arguments, **named), result=result)

    monkeypatch.setattr(door.runs, "execute_now", lying)
    answer = await ask(door, "POST", "/welcome", json={})
    assert answer.body == b"<script>1</script>"
    assert answer.headers["X-Mine"] == "1"
    assert any(
        each.startswith("sandbox") and "allow-same-origin" not in each
        for each in answer.headers.getall("Content-Security-Policy")  # type: ignore[attr-defined]
    )
    for name in ("Set-Cookie", "Access-Control-Allow-Origin", "X-Split", "Bad Name", "Transfer-Encoding"):
        assert name not in answer.headers


async def test_a_task_that_is_paused_is_told_to_come_again(
    desk: TaskDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from admit.tasks import registrations

    await desk.load(WELCOME)
    served = desk.served
    await served.gateway.db.write(
        lambda tx: registrations.set_paused(tx, desk.app.app_id, "welcome", True, served.hands())
    )

    async def paused() -> Any:
        return True if desk.task("welcome").paused else None

    await until(paused)
    answer = await ask(desk, "POST", "/welcome", json={})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert await desk.page() == []


async def test_a_server_without_tasks_has_no_such_address(served_sqlite_url: str) -> None:
    from tests.contract.served import serving

    async with serving(served_sqlite_url) as served:
        await served.app()
        assert (await served.ask("POST", "/notes/tasks/welcome")).status == 404
        assert (await served.ask("POST", "/nobody/tasks/welcome")).status == 404
