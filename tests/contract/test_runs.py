"""Runs in the queue: tried again, applied once, in order, called, cancelled. By real worker processes."""

import itertools
from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from admit.accounts import users
from admit.errors import Conflict
from admit.task.payloads import Call
from admit.task.wire import Ended
from admit.tasks import run_starts
from admit.tasks.run_pages import History
from tests.contract.task_desk import TaskDesk, desk, overtaken, until

__all__ = ["desk"]

ADA = "ada@example.com"


async def test_run_that_raises_twice_and_then_succeeds_is_three_attempts(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.called(retries=(0, 0))
        def work(context):
            context.log.info(f"attempt {context.run.attempt}")
            if context.run.attempt < 3:
                raise ValueError("not yet")
            return {"attempt": context.run.attempt}
        """
    )
    run_id = await desk.call("work")

    done = await desk.until(run_id, "done", "failed")

    assert done.run.state == "done"
    assert [(each.attempt, each.outcome) for each in done.attempts] == [
        (1, "raised"),
        (2, "raised"),
        (3, "ok"),
    ]
    assert done.attempts[0].detail == "ValueError: not yet (tasks.py:7)"
    assert "raise ValueError" in done.attempts[0].reply
    assert msgspec.json.decode(done.attempts[2].reply) == {"attempt": 3}
    assert await desk.said(run_id) == ["attempt 1", "attempt 2", "attempt 3"]


async def test_run_that_always_raises_ends_by_its_schedule_and_may_be_tried_again(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.called(retries=(0,))
        def work(context):
            context.db.users.create("ada@example.com", type="prod")
            raise RuntimeError("never")
        """
    )
    run_id = await desk.call("work", b'{"for": "ada"}')
    failed = await desk.until(run_id, "done", "failed")
    assert (failed.run.state, len(failed.attempts)) == ("failed", 2)
    assert failed.run.detail == "RuntimeError: never (tasks.py:6)"
    assert msgspec.json.decode(failed.run.parameters or b"") == {"for": "ada"}

    assert await desk.retry(run_id) == "due"
    again = await until(lambda: _with_attempts(desk, run_id, 4))

    assert again.run.state == "failed"
    assert await _user(desk, ADA) is None


async def test_users_that_a_run_writes_are_there_with_its_completion(desk: TaskDesk) -> None:
    await desk.served.write(desk.app, {"userId": "bob@example.com", "type": "eval"})
    await desk.load(
        """
        @task.called
        def work(context):
            context.db.users.create("ada@example.com", type="prod", data={"plan": "team"})
            context.db.users.update("bob@example.com", type="prod")
            context.db.users.lock("bob@example.com")
        """
    )
    run_id = await desk.call("work")
    await desk.until(run_id, "done")

    ada, bob = await _user(desk, ADA), await _user(desk, "bob@example.com")
    assert (ada.type, ada.way_in, bytes(ada.data)) == ("prod", "task", b'{"plan":"team"}')
    assert (bob.type, bob.locked_at is not None) == ("prod", True)


async def test_two_runs_and_an_operator_who_change_one_user_lose_nothing(desk: TaskDesk) -> None:
    await desk.served.write(desk.app, {"userId": ADA, "type": "eval", "data": {"count": 0}})
    await desk.load(
        """
        @task.called(at_once=8)
        def work(context):
            ada = context.db.users.get("ada@example.com")
            context.db.users.update(ada, data={**ada.data, "count": ada.data["count"] + 1})
        """
    )
    ids = [await desk.call("work") for _ in range(8)]
    await desk.served.write(desk.app, {"userId": ADA, "type": "prod"})

    shown = [await desk.until(run_id, "done", "failed") for run_id in ids]

    ada = await _user(desk, ADA)
    assert [each.run.state for each in shown] == ["done"] * 8
    assert (ada.type, msgspec.json.decode(ada.data)) == ("prod", {"count": 8})
    assert {each.outcome for history in shown for each in history.attempts} <= {"ok", "conflict"}


async def test_calls_are_runs_of_their_own_and_only_of_what_succeeds(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.called(retries=(0,))
        def caller(context):
            context.call("called_one", {"attempt": context.run.attempt})
            if context.run.attempt == 1:
                raise ValueError("too early")

        @task.called
        def called_one(context):
            return dict(context.parameters)
        """
    )
    caller = await desk.call("caller")
    [called] = await desk.all_done("called_one", 1)

    assert (called.by, called.task) == (caller, "called_one")
    assert msgspec.json.decode(called.parameters or b"") == {"attempt": 2}
    assert [run.run_id for run in await desk.page(about=caller)] == [called.run_id]


async def test_call_of_what_is_no_called_task_fails_and_writes_nothing(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.called(retries=())
        def work(context):
            context.db.users.create("ada@example.com", type="prod")
            context.call("nobody")
        """
    )
    failed = await desk.until(await desk.call("work"), "failed")

    assert [each.outcome for each in failed.attempts] == ["refused_changes"]
    assert failed.run.detail == "There is no task 'nobody' that can be called."
    assert await _user(desk, ADA) is None


async def test_an_app_has_so_many_named_queues_and_no_more(
    desk: TaskDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.load(
        """
        @task.called(retries=())
        def work(context):
            context.db.users.create("ada@example.com", type="prod")
            for queue in context.parameters["queues"]:
                context.call("after", queue=queue)

        @task.called
        def after(context):
            pass
        """
    )
    monkeypatch.setattr(run_starts, "QUEUES_MAX", 2)
    failed = await desk.until(await desk.call("work", b'{"queues": ["a", "b", "c"]}'), "failed")
    assert [each.outcome for each in failed.attempts] == ["refused_changes"]
    assert failed.run.detail == "An app has at most 2 named queues, and c would be one more."
    assert await _user(desk, ADA) is None
    await desk.until(await desk.call("work", b'{"queues": ["a", "b", "a"]}'), "done")
    await desk.all_done("after", 3)
    with pytest.raises(Conflict):
        await desk.call("after", queue="c")
    await desk.until(await desk.call("after", queue="b"), "done")


async def test_runs_in_a_named_queue_never_overlap(desk: TaskDesk) -> None:
    await desk.load(
        """
        import time

        @task.called(at_once=8)
        def one(context):
            begun = time.time()
            time.sleep(0.05)
            return [begun, time.time()]

        @task.called(at_once=8)
        def two(context):
            return one(context)
        """
    )
    ids = [await desk.call(name, queue="crm") for _ in range(4) for name in ("one", "two")]

    done = [await desk.until(run_id, "done") for run_id in ids]

    spans = sorted(msgspec.json.decode(each.attempts[-1].reply) for each in done)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), spans
    assert {each.run.queue for each in done} == {"crm"}
    assert len(await desk.page(task_id=desk.task("one").task_id)) == 4


async def test_run_that_is_due_later_waits_for_its_time(desk: TaskDesk) -> None:
    await desk.load("@task.called\ndef work(context): return context.run.now.timestamp()")
    now = desk.served.hands()
    run_id = await desk.call("work", due_at=now + 3_600_000)
    other = await desk.call("work")
    await desk.until(other, "done")

    assert (await desk.show(run_id)).run.state == "waiting"
    assert (await desk.show(run_id)).run.due_at == now + 3_600_000

    desk.served.hands.move(seconds=3_601)
    await desk.call("work")  # a signal, or nobody would look for half a minute
    done = await desk.until(run_id, "done")
    assert msgspec.json.decode(done.attempts[0].reply) * 1_000 >= now + 3_600_000


# Cancelling


async def test_waiting_run_that_is_cancelled_never_begins(desk: TaskDesk) -> None:
    await desk.load("@task.called\ndef work(context): pass")
    run_id = await desk.call("work", due_at=desk.served.hands() + 3_600_000)

    assert await desk.cancel(run_id) == "cancelled"

    shown = await desk.show(run_id)
    assert (shown.run.state, shown.run.detail, shown.attempts) == ("cancelled", "Cancelled by a test.", [])
    assert (await desk.cancel(run_id)).code == "run_over"
    assert await desk.cancel("run_unknown") == "unknown"


async def test_running_run_that_is_cancelled_is_ended_and_nothing_of_it_applied(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.called
        def work(context):
            context.db.users.create("ada@example.com", type="prod")
            context.log.info("begun")
            while True:
                pass

        @task.called
        def other(context):
            pass
        """
    )
    run_id = await desk.call("work")
    await until(lambda: _some(desk.said(run_id)))

    with capture_logs() as logs:
        assert await desk.cancel(run_id) == "cancelled"
        await overtaken(logs, run_id)
    await desk.until(await desk.call("other"), "done")
    assert (await desk.show(run_id)).run.state == "cancelled"
    assert await _user(desk, ADA) is None


async def test_blocked_run_that_is_cancelled_lets_the_next_one_go_on(desk: TaskDesk) -> None:
    await desk.load(
        """
        import pathlib, time

        @task.on("user.enrolled", "user.updated")
        def work(context):
            while not pathlib.Path(GATE).exists():
                time.sleep(0.01)
        """.replace("GATE", repr(str(desk.folder.parent / "gate")))
    )
    await desk.served.write(desk.app, {"userId": ADA, "type": "eval"})
    await desk.served.write(desk.app, {"userId": ADA, "data": {"a": 1}})
    await desk.served.write(desk.app, {"userId": ADA, "data": {"a": 2}})
    third, second, first = await desk.page()
    await desk.until(first.run_id, "running")
    assert [second.state, third.state] == ["blocked", "blocked"]

    assert await desk.cancel(second.run_id) == "cancelled"
    (desk.folder.parent / "gate").touch()

    await desk.until(third.run_id, "done")
    assert (await desk.show(second.run_id)).run.state == "cancelled"


# Events


async def test_runs_after_events_keep_the_order_of_each_person(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.on("user.enrolled", "user.updated", at_once=8)
        def work(context):
            return [context.event.sequence, context.user.user_id, context.event.type]
        """
    )
    people = [f"person{number}@example.com" for number in range(4)]
    for person in people:
        await desk.served.write(desk.app, {"userId": person, "type": "eval"})
        for round_ in range(3):
            await desk.served.write(desk.app, {"userId": person, "data": {"round": round_}})

    runs = await desk.all_done("work", 16)

    by_person: dict[str | None, list[tuple[int, int]]] = {}
    for run in runs:
        attempt = (await desk.show(run.run_id)).attempts[-1]
        sequence, _, _ = msgspec.json.decode(attempt.reply)
        by_person.setdefault(run.uid, []).append((sequence, attempt.started_at))
    assert len(by_person) == 4
    for told in by_person.values():
        begun = [started_at for _, started_at in sorted(told)]
        assert begun == sorted(begun)


async def test_run_is_found_by_the_event_the_person_and_the_task(desk: TaskDesk) -> None:
    await desk.load("@task.on('user.enrolled')\ndef work(context): pass")
    await desk.served.write(desk.app, {"userId": ADA, "type": "eval"})
    [run] = await desk.all_done("work", 1)
    ada = await _user(desk, ADA)

    assert run.event is not None
    assert run.run_id.startswith("run_")
    shown = await desk.show(run.run_id)
    verdict = msgspec.json.decode(run.event.data)["verdict"]
    assert set(shown.abouts) == {run.event.event_id, verdict["admission_id"]}
    for query in (
        {"about": run.event.event_id},
        {"uid": ada.uid},
        {"task_id": run.task_id},
        {"state": "done"},
    ):
        assert [each.run_id for each in await desk.page(**query)] == [run.run_id]
    assert await desk.page(about="evt_other") == await desk.page(state="failed") == []


# Lines


async def test_lines_are_there_while_the_run_goes_on_and_never_twice(desk: TaskDesk) -> None:
    gate = desk.folder.parent / "gate"
    await desk.load(
        f"""
        import pathlib, time

        @task.called
        def work(context):
            context.log.info("first", number=1)
            print("printed")
            while not pathlib.Path({str(gate)!r}).exists():
                time.sleep(0.01)
            context.log.warning("last")
        """
    )
    run_id = await desk.call("work")
    await until(lambda: _some(desk.said(run_id)))
    assert (await desk.show(run_id)).run.state == "running"
    gate.touch()
    await desk.until(run_id, "done")

    told = await desk.lines(job_id=run_id)
    assert [(each.line, each.level) for each in told] == [
        ("first", "info"),
        ("printed", "info"),
        ("last", "warning"),
    ]
    assert msgspec.json.decode(told[0].fields) == {"number": 1}
    assert [each.position for each in told] == sorted(each.position for each in told)
    assert [each.line for each in await desk.lines(level="warning")] == ["last"]
    assert [each.line for each in await desk.lines(text="PRINT")] == ["printed"]
    assert [
        each.line for each in await desk.lines(lane=desk.task("work").task_id, after=told[1].position)
    ] == ["last"]


# Test mode


async def test_rehearsal_shows_what_would_be_and_keeps_nothing(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.called
        def work(context):
            context.log.info("about to send")
            context.db.users.create("ada@example.com", type="prod")
            context.call("work", {"again": True})
            try:
                context.http.post("https://crm.example.com/people", json={})
            except task.NotAnswered as error:
                return str(error)
        """
    )
    rehearsal = await desk.runs.rehearse(desk.task("work"), Call(parameters=b"{}"))

    assert isinstance(rehearsal.result, Ended)
    assert b"A test run sends nothing" in rehearsal.result.result
    assert [each.text for each in rehearsal.lines] == ["about to send"]
    assert [len(rehearsal.changes), len(rehearsal.calls)] == [1, 1]
    assert rehearsal.blocked == ("POST https://crm.example.com/people",)
    assert await desk.page() == []
    assert await desk.lines() == []
    assert await _user(desk, ADA) is None


# Parts


async def _user(desk: TaskDesk, user_id: str) -> Any:
    [found] = await desk.served.gateway.db.read(lambda tx: users.find_each(tx, [(desk.app.app_id, user_id)]))
    return found


async def _with_attempts(desk: TaskDesk, run_id: str, count: int) -> History | None:
    shown = await desk.show(run_id)
    return shown if len(shown.attempts) == count and shown.run.state == "failed" else None


async def _some(found: Awaitable[list[str]]) -> list[str] | None:
    return await found or None
