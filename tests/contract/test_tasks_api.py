"""The admin API of tasks: which there are, their variables, runs, lines and rehearsals."""

import asyncio
from typing import Any

import pytest

from admit.jobs.handling import Later
from admit.storage.transaction import Transaction
from admit.tasks import env, run_pages, runs
from tests.contract.served import Answered
from tests.contract.task_desk import TaskDesk, desk, until
from tests.contract.test_admin_api import api, operator_token
from tests.contract.token_desk import signed_in

__all__ = ["desk"]

CODE = """
    @task.called(retries=(3600,), env=["KEY"])
    def greet(context):
        '''Greets somebody.'''
        context.log.info("hello", whom=context.parameters.get("whom", "nobody"))
        if context.parameters.get("fails"):
            raise ValueError("not today")
        return {"greeted": context.parameters["whom"]}

    @task.on("user.enrolled")
    def welcome(context):
        context.http.post("http://127.0.0.1:9/", json={"user": context.user.user_id})

    @task.decides
    def door(context):
        if context.device is None or "staff" not in context.claims["groups"]:
            return task.refuse("NO", "Not you.")
        return task.admit("prod", name=context.name)

    @task.http("/here", authenticate=task.signed_in)
    def here(context):
        context.db.users.create("new@example.com", type="prod", data=context.json())
        context.call("greet", {"whom": context.caller.user_id})
        return {"path": context.path}
"""
WHERE = "apps/notes"


async def ask(
    desk: TaskDesk, method: str, path: str, body: object = None, token: str | None = None
) -> Answered:
    return await api(desk.served, method, f"{WHERE}/{path}", body, token)


async def done(desk: TaskDesk, method: str, path: str, body: object = None) -> Any:
    answer = await ask(desk, method, path, body)
    assert answer.status == 200, answer.body
    return answer.json


async def ended(desk: TaskDesk, run_id: str) -> Any:
    """A run, once it has ended or waits for another try."""

    async def found() -> Any:
        run = await done(desk, "GET", f"runs/{run_id}")
        return run if run["attempts"] and run["state"] not in ("running", "blocked") else None

    return await until(found)


async def test_tasks_are_listed_shown_paused_and_resumed(desk: TaskDesk) -> None:
    await desk.load(CODE)

    listed = await done(desk, "GET", "tasks")
    assert [each["name"] for each in listed["tasks"]] == ["door", "greet", "here", "welcome"]
    assert (listed["code"]["tasks"], listed["code"]["problems"]) == (["door", "greet", "here", "welcome"], [])
    greet = await done(desk, "GET", "tasks/greet")
    assert (greet["kind"], greet["about"], greet["state"]) == ("called", "Greets somebody.", "ready")
    assert (greet["retries_seconds"], greet["env"], greet["env_missing"]) == ([3600.0], ["KEY"], ["KEY"])

    assert (await done(desk, "POST", "tasks/greet/pause"))["state"] == "paused"
    waiting = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"whom": "ada"}})
    assert (await done(desk, "POST", "tasks/greet/resume"))["state"] == "ready"
    assert (await ended(desk, waiting["id"]))["state"] == "done"
    assert (await ask(desk, "GET", "tasks/nothing")).json["code"] == "task_not_found"


async def test_a_run_that_begins_before_this_server_has_heard_of_the_end_of_a_pause_comes_soon(
    desk: TaskDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = desk.served.gateway.registry
    assert registry is not None
    put_back, may_hear, refresh = asyncio.Event(), asyncio.Event(), registry._refresh

    def later(detail: str, after_ms: int) -> Later:
        put_back.set()
        return Later(detail, after_ms)

    async def refresh_later(app_id: str) -> None:
        await may_hear.wait()
        await refresh(app_id)

    async def is_paused() -> bool | None:
        return desk.task("greet").paused or None

    monkeypatch.setattr(runs, "Later", later)
    await desk.load(CODE)
    await done(desk, "POST", "tasks/greet/pause")
    await until(is_paused)
    waiting = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"whom": "ada"}})
    monkeypatch.setattr(registry, "_refresh", refresh_later)
    await done(desk, "POST", "tasks/greet/resume")
    await asyncio.wait_for(put_back.wait(), 20)
    may_hear.set()
    assert (await ended(desk, waiting["id"]))["state"] == "done"


async def test_each_task_says_how_its_last_run_ended_and_when_the_clock_brings_the_next(
    desk: TaskDesk,
) -> None:
    clock = """
    @task.every("0 7 * * *", timezone="Europe/Berlin")
    def tidy(context):
        pass
    """
    await desk.load(CODE + clock)
    now = desk.served.hands()

    before = {each["name"]: each for each in (await done(desk, "GET", "tasks"))["tasks"]}
    assert {each["last_run"] for each in before.values()} == {None}
    assert now < before["tidy"]["next_at"] <= now + 86_400_000
    assert [name for name, each in before.items() if each["next_at"] is not None] == ["tidy"]

    first = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"whom": "ada"}})
    await ended(desk, first["id"])
    failing = {"parameters": {"fails": True}, "queue": "mails"}
    queued = await done(desk, "POST", "tasks/greet/runs", failing)
    await ended(desk, queued["id"])
    later = await done(desk, "POST", "tasks/greet/runs", {"parameters": {}, "after_seconds": 3600})
    ticked = await done(desk, "POST", "tasks/tidy/runs", {})
    assert (await ended(desk, ticked["id"]))["scheduled_at"] == ticked["created_at"]

    after = {each["name"]: each for each in (await done(desk, "GET", "tasks"))["tasks"]}
    assert (after["greet"]["last_run"]["id"], after["greet"]["last_run"]["state"]) == (
        queued["id"],
        "waiting",
    )
    assert "ValueError: not today" in after["greet"]["last_run"]["detail"]
    assert after["tidy"]["last_run"]["id"] == ticked["id"]
    assert after["door"]["last_run"] is None
    assert (await done(desk, "GET", "tasks/greet"))["last_run"] == after["greet"]["last_run"]
    shown = await done(desk, "GET", f"runs/{later['id']}")
    assert (shown["parameters"], shown["scheduled_at"], shown["user_id"]) == ({}, None, None)


async def test_code_that_cannot_be_taken_is_told_with_its_place_and_the_former_goes_on(
    desk: TaskDesk,
) -> None:
    await desk.load(CODE)
    (desk.folder / "notes" / "more.py").write_text("import nothing_of_this_name\n")

    reloaded = await api(desk.served, "POST", "tasks/reload")

    (code,) = reloaded.json
    assert code["tasks"] == ["door", "greet", "here", "welcome"]
    assert [(each["file"], each["line"]) for each in code["problems"]] == [("more.py", 1)]
    assert (await api(desk.served, "GET", "tasks")).json == reloaded.json
    run = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"whom": "ada"}})
    assert (await ended(desk, run["id"]))["state"] == "done"


async def test_variables_go_in_and_never_come_out(desk: TaskDesk) -> None:
    await desk.load(CODE)
    secret = "a-secret-of-somebody-else"

    kept = await ask(desk, "PUT", "task-env/KEY", {"value": secret})
    assert (kept.status, kept.json["tasks"]) == (200, ["greet"])
    listed = await ask(desk, "GET", "task-env")
    assert [each["name"] for each in listed.json] == ["KEY"]
    assert secret.encode() not in kept.body + listed.body

    def values(tx: Transaction) -> Any:
        return env.values(tx, desk.served.gateway.ring, desk.app.app_id)

    assert await desk.served.gateway.db.read(values) == {"KEY": secret}
    assert (await ask(desk, "PUT", "task-env/key", {"value": "x"})).json["code"] == "variable_refused"
    assert (await ask(desk, "DELETE", "task-env/KEY")).status == 204
    assert (await ask(desk, "DELETE", "task-env/KEY")).json["code"] == "variable_not_found"


async def test_reading_changes_nothing_and_an_app_is_closed_to_tokens_of_others(desk: TaskDesk) -> None:
    await desk.load(CODE)
    await desk.served.app("other")
    reads = await operator_token(desk.served, "tasks:read", app="notes")
    elsewhere = await operator_token(desk.served, "tasks:read", "tasks:write", app="other")
    sees = ["tasks", "tasks/greet", "runs", "lines", "task-env"]
    writes = [
        ("POST", "tasks/greet/pause", None),
        ("POST", "tasks/greet/runs", {}),
        ("POST", "tasks/greet/rehearsals", {}),
        ("POST", "runs/run_1/cancel", None),
        ("POST", "runs/run_1/retry", None),
        ("PUT", "task-env/KEY", {"value": "x"}),
        ("DELETE", "task-env/KEY", None),
    ]

    assert {(await ask(desk, "GET", path, token=reads)).status for path in sees} == {200}
    assert {(await ask(desk, "GET", path, token=elsewhere)).status for path in sees} == {403}
    for method, path, body in writes:
        assert (await ask(desk, method, path, body, token=reads)).status == 403, path
        assert (await ask(desk, method, path, body, token=elsewhere)).status == 403, path
    assert (await api(desk.served, "POST", "tasks/reload", token=elsewhere)).status == 403
    assert await desk.page() == []


async def test_a_called_run_is_followed_found_cancelled_and_tried_again(desk: TaskDesk) -> None:
    await desk.load(CODE)

    run = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"whom": "ada"}})
    over = await ended(desk, run["id"])
    assert (over["state"], over["history"][0]["result"]) == ("done", '{"greeted":"ada"}')
    failed = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"fails": True}})
    waits = await ended(desk, failed["id"])
    assert (waits["state"], waits["attempts"], waits["history"][0]["outcome"]) == ("waiting", 1, "raised")
    assert "ValueError: not today" in waits["detail"]
    assert "not today" in waits["history"][0]["traceback"]

    await done(desk, "POST", f"runs/{failed['id']}/retry")
    tried = await until(lambda: attempted(desk, failed["id"], 2))
    assert [each["attempt"] for each in tried["history"]] == [1, 2]
    assert (await done(desk, "POST", f"runs/{failed['id']}/cancel"))["state"] == "cancelled"
    assert (await ask(desk, "POST", f"runs/{failed['id']}/cancel")).json["code"] == "run_over"
    states = {each["id"]: each["state"] for each in (await done(desk, "GET", "runs?task=greet"))["runs"]}
    assert states == {run["id"]: "done", failed["id"]: "cancelled"}
    only = await done(desk, "GET", "runs?state=cancelled&limit=1")
    assert [each["id"] for each in only["runs"]] == [failed["id"]]
    assert (await ask(desk, "GET", "runs/run_of_nobody")).json["code"] == "run_not_found"


async def test_failed_runs_are_found_however_many_others_there_are_in_the_order_of_their_failures(
    desk: TaskDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.load(CODE.replace("retries=(3600,)", "retries=()"))
    fails = {"parameters": {"fails": True}}
    first = (await done(desk, "POST", "tasks/greet/runs", fails))["id"]
    await desk.until(first, "failed")
    queued = (await done(desk, "POST", "tasks/greet/runs", fails | {"queue": "mails"}))["id"]
    await desk.until(queued, "failed")
    for _ in range(4):
        run = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"whom": "ada"}})
        await desk.until(run["id"], "done")
    await done(desk, "POST", f"runs/{first}/retry")

    async def again() -> Any:
        run = await done(desk, "GET", f"runs/{first}")
        return run if len(run["history"]) == 2 and run["state"] == "failed" else None

    await until(again)
    monkeypatch.setattr(run_pages, "SCANNED_MAX", 2)
    for query in ("state=failed", "state=failed&task=greet"):
        page = await done(desk, "GET", f"runs?{query}&limit=1")
        assert [each["id"] for each in page["runs"]] == [first], query
        rest = await done(desk, "GET", f"runs?{query}&limit=1&before={page['before']}")
        assert [each["id"] for each in rest["runs"]] == [queued], query
    assert (await done(desk, "GET", "runs?state=failed&since_seconds=1&limit=9"))["before"] is None
    nowhere = await done(desk, "GET", "runs?state=cancelled&limit=1")
    assert (nowhere["runs"], nowhere["before"] is None) == ([], False)


async def attempted(desk: TaskDesk, run_id: str, attempts: int) -> Any:
    run = await done(desk, "GET", f"runs/{run_id}")
    return run if run["attempts"] == attempts and run["state"] == "waiting" else None


async def test_a_run_for_an_event_is_found_by_event_person_and_session(desk: TaskDesk) -> None:
    await desk.load(CODE.replace("http://127.0.0.1:9/", "http://127.0.0.1:9/nobody"))
    assert (await signed_in(desk.served, "ada@example.com")).status == 200
    (event,) = (await done(desk, "GET", "events?types=user.enrolled"))["events"]

    (run,) = (await done(desk, "GET", "runs?task=welcome"))["runs"]
    shown = await ended(desk, run["id"])
    assert (shown["event_id"], shown["user_id"]) == (event["id"], "ada@example.com")
    assert {event["id"], event["data"]["session"]["id"]} <= set(shown["about"])
    for query in (f"about={event['id']}", "user=ada@example.com", f"about={event['data']['session']['id']}"):
        assert [each["id"] for each in (await done(desk, "GET", f"runs?{query}"))["runs"]] == [run["id"]]
    again = await done(desk, "POST", "tasks/welcome/runs", {"event": event["id"]})
    assert again["event_id"] == event["id"]


@pytest.mark.parametrize(
    ("task", "body", "code"),
    [
        ("greet", {"event": "evt_1"}, "invalid_request"),
        ("greet", {"queue": "No Queue"}, "invalid_request"),
        ("greet", {"after_seconds": 1, "at": 1}, "invalid_request"),
        ("greet", {"at": 9_000_000_000_000}, "invalid_request"),
        ("welcome", {"parameters": {}}, "invalid_request"),
        ("welcome", {"event": "evt_of_nobody"}, "event_not_found"),
        ("door", {}, "task_not_callable"),
        ("here", {}, "task_not_callable"),
    ],
)
async def test_what_cannot_be_begun_is_refused(
    desk: TaskDesk, task: str, body: dict[str, Any], code: str
) -> None:
    await desk.load(CODE)
    assert (await ask(desk, "POST", f"tasks/{task}/runs", body)).json["code"] == code
    assert await desk.page() == []


async def test_lines_are_followed_by_a_cursor_and_wake_who_waits(desk: TaskDesk) -> None:
    await desk.load(CODE)
    latest = (await done(desk, "GET", "lines?after=latest"))["cursor"]
    waiting = asyncio.create_task(done(desk, "GET", f"lines?after={latest}&wait=30&task=greet"))
    await until(lambda: somebody_watches(desk))

    run = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"whom": "ada"}})
    told = await asyncio.wait_for(waiting, 20)

    assert [(line["run"], line["text"]) for line in told["lines"]][:1] == [(run["id"], "hello")]
    assert (told["lines"][0]["task"], told["lines"][0]["fields"]) == ("greet", {"whom": "ada"})
    await ended(desk, run["id"])
    failed = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"fails": True}})
    await ended(desk, failed["id"])
    errors = await done(desk, "GET", "lines?level=error")
    assert [line["run"] for line in errors["lines"]] == [failed["id"]]
    assert (await done(desk, "GET", "lines?search=NOT%20today"))["lines"] == errors["lines"]
    assert (await done(desk, "GET", "lines?last=1"))["lines"] == errors["lines"]
    of_run = (await done(desk, "GET", f"lines?run={run['id']}"))["lines"]
    assert {line["run"] for line in of_run} == {run["id"]}
    assert (await ask(desk, "GET", "lines?after=nonsense")).status == 400


async def somebody_watches(desk: TaskDesk) -> bool | None:
    return desk.served.gateway.line_news.watching == 1 or None


async def test_a_server_that_stops_lets_who_watches_go(desk: TaskDesk) -> None:
    await desk.load(CODE)
    waiting = asyncio.create_task(done(desk, "GET", "lines?after=latest&wait=60"))
    await until(lambda: somebody_watches(desk))

    desk.served.gateway.end_waits()

    assert (await asyncio.wait_for(waiting, 20))["lines"] == []


async def test_a_rehearsal_shows_everything_and_keeps_nothing(desk: TaskDesk) -> None:
    await desk.load(CODE)

    greet = await done(desk, "POST", "tasks/greet/rehearsals", {"parameters": {"whom": "ada"}})
    assert (greet["outcome"], greet["result"]) == ("ok", {"greeted": "ada"})
    assert [line["text"] for line in greet["lines"]] == ["hello"]
    imagined = {
        "email": "a@example.com",
        "name": "A",
        "claims": {"groups": ["staff"]},
        "device": {"identifier": "d"},
    }
    decided = await done(desk, "POST", "tasks/door/rehearsals", {"decision": imagined})
    assert (decided["result"]["decision"], decided["result"]["name"]) == ("admit", "A")
    told = await done(desk, "POST", "tasks/welcome/rehearsals", {})
    assert [(each["method"], each["url"]) for each in told["requests"]] == [("POST", "http://127.0.0.1:9/")]
    assert told["outcome"] == "raised"
    request = {"request": {"json": {"plan": "team"}, "user": "bob@example.com"}}
    here = await done(desk, "POST", "tasks/here/rehearsals", request)
    assert [(each["what"], each["user_id"]) for each in here["changes"]] == [
        ("write_user", "new@example.com")
    ]
    assert [(each["task"], each["parameters"]) for each in here["calls"]] == [
        ("greet", {"whom": "bob@example.com"})
    ]
    broken = await done(desk, "POST", "tasks/greet/rehearsals", {"parameters": {"fails": True}})
    assert (broken["outcome"], "ValueError: not today" in broken["error"]) == ("raised", True)
    assert "tasks.py" in broken["traceback"]

    assert await desk.page() == []
    assert await desk.lines() == []
    assert (await done(desk, "GET", "users"))["users"] == []
    assert (await ask(desk, "POST", "tasks/greet/rehearsals", {"event": "evt_1"})).status == 400
    assert (await ask(desk, "POST", "tasks/door/rehearsals", {})).status == 400
