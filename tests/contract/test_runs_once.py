"""What a run does inside is done once, whatever comes between; what it sends says which run it is."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from admit.accounts import users
from admit.accounts.users import User
from admit.enrollment.departures import delete_person
from admit.events.log import events
from admit.jobs import emptying, leases, lines
from admit.jobs.tables import jobs
from admit.jobs.tables import lines as lines_table
from admit.jobs.tables import links as links_table
from admit.task.payloads import Request
from admit.tasks import run_starts
from admit.tasks.run_orders import OwedEvent
from admit.tasks.tables import queues
from tests.contract.task_desk import TaskDesk, desk, overtaken, tasks_at, until
from tests.postgres_proxy import Proxy
from tests.receiver import always, in_turn, receiving

__all__ = ["desk"]

ADA = "ada@example.com"
CREATES = """
import pathlib, time

@task.called
def work(context):
    context.db.users.create("ada@example.com", type="prod")
    context.call("after", {"run": context.run.id})
    context.log.info("begun")
    while not pathlib.Path(GATE).exists():
        time.sleep(0.01)

@task.called
def after(context):
    pass
"""


def gate_of(desk: TaskDesk) -> Path:
    return desk.folder.parent / "gate"


async def load(desk: TaskDesk, text: str) -> None:
    await desk.load(text.replace("GATE", repr(str(gate_of(desk)))))


async def person(desk: TaskDesk, user_id: str = ADA) -> User | None:
    [found] = await desk.served.gateway.db.read(lambda tx: users.find_each(tx, [(desk.app.app_id, user_id)]))
    return found


async def count(desk: TaskDesk, what: Any) -> int:
    return await desk.served.gateway.db.read(lambda tx: tx.execute(what).scalar_one())


async def test_run_whose_claim_was_overtaken_applies_nothing(desk: TaskDesk) -> None:
    await load(desk, CREATES)
    run_id = await desk.call("work")
    await until(lambda: _said(desk, run_id))
    # As another worker does once the lease has ended.
    overtake = update(jobs).where(jobs.c.job_id == run_id).values(fence=jobs.c.fence + 1)
    await desk.served.gateway.db.write(lambda tx: tx.execute(overtake))

    with capture_logs() as logs:
        gate_of(desk).touch()
        await overtaken(logs, run_id)

    assert await person(desk) is None
    assert [run.run_id for run in await desk.page()] == [run_id]
    shown = await desk.show(run_id)
    assert (shown.run.state, shown.attempts) == ("running", [])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed all the time."""
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.05)


async def test_run_whose_claim_was_overtaken_ends_when_its_lease_is_to_be_renewed(
    hasty: None, desk: TaskDesk
) -> None:
    """As on a server that was frozen and comes back: what it sent from then on, two would send."""
    await load(desk, CREATES)
    run_id = await desk.call("work")
    await until(lambda: _said(desk, run_id))
    overtake = update(jobs).where(jobs.c.job_id == run_id).values(fence=jobs.c.fence + 1)

    with capture_logs() as logs:
        await desk.served.gateway.db.write(lambda tx: tx.execute(overtake))
        await overtaken(logs, run_id)

    assert not gate_of(desk).exists()
    assert "lease.lost" in {each["event"] for each in logs}
    assert await person(desk) is None
    assert (await desk.show(run_id)).attempts == []


async def test_what_is_deleted_while_its_run_goes_on_does_not_come_back(desk: TaskDesk) -> None:
    await load(
        desk,
        """
        import pathlib, time

        @task.on("user.enrolled")
        def work(context):
            user = context.db.users.get(context.user.user_id)
            context.db.users.update(user, data={"secret": "of Ada"})
            print("hello", context.user.user_id)
            while not pathlib.Path(GATE).exists():
                time.sleep(0.01)
            print("goodbye", context.user.user_id)
            return context.user.user_id
        """,
    )
    await desk.served.write(desk.app, {"userId": ADA, "type": "eval"})
    [run] = await desk.page()
    await until(lambda: _said(desk, run.run_id))

    assert await delete_person(desk.served.gateway.db, desk.app.app_id, ADA, desk.served.hands())
    with capture_logs() as logs:
        gate_of(desk).touch()
        await overtaken(logs, run.run_id)

    shown = await desk.show(run.run_id)
    assert (shown.run.state, shown.attempts, shown.abouts) == ("cancelled", [], [])
    assert await desk.lines() == []
    assert await person(desk) is None
    assert (await desk.retry(run.run_id)).code == "run_lost"


async def test_what_was_said_and_answered_about_somebody_goes_with_them(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.on("user.enrolled")
        def work(context):
            print("hello", context.user.user_id)
            return context.user.user_id
        """
    )
    await desk.served.write(desk.app, {"userId": ADA, "type": "eval"})
    [run] = await desk.all_done("work", 1)
    assert await desk.said(run.run_id) == [f"hello {ADA}"]

    await delete_person(desk.served.gateway.db, desk.app.app_id, ADA, desk.served.hands())

    shown = await desk.show(run.run_id)
    assert (shown.attempts[0].reply, shown.abouts, await desk.lines()) == ("", [], [])


async def test_a_run_that_somebody_asked_for_is_the_persons_of_its_event(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.on("user.enrolled", equals={"user.type": "demo"})
        def work(context):
            print("hello", context.user.user_id)
            return context.user.user_id
        """
    )
    await desk.served.write(desk.app, {"userId": ADA, "type": "eval"})
    of_app = select(events.c.position, events.c.uid).where(events.c.app_id == desk.app.app_id)
    [event] = await desk.served.gateway.db.read(lambda tx: tx.execute(of_app).all())
    owed = OwedEvent(task_id=desk.task("work").task_id, sequence=event.position)
    start = partial(run_starts.start, app_id=desk.app.app_id, task_id=owed.task_id, owed=owed)
    run_id = await desk.served.gateway.db.write(partial(start, now=desk.served.hands()))
    shown = await desk.until(run_id, "done")
    assert (shown.run.uid, await desk.said(run_id)) == (event.uid, [f"hello {ADA}"])

    await delete_person(desk.served.gateway.db, desk.app.app_id, ADA, desk.served.hands())

    shown = await desk.show(run_id)
    assert (shown.attempts[0].reply, shown.abouts, await desk.lines()) == ("", [], [])


async def test_the_words_in_which_a_run_about_somebody_failed_go_with_them(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.on("user.enrolled", retries=())
        def work(context):
            raise ValueError("no seat for " + context.user.user_id)
        """
    )
    with capture_logs() as logs:
        await desk.served.write(desk.app, {"userId": ADA, "type": "eval"})
        [run] = await until(lambda: _pages(desk))
        shown = await desk.until(run.run_id, "failed")
        await until(lambda: _dead(logs, run.run_id))
    assert ADA not in str(logs)  # which outlives everybody
    assert ADA in shown.run.detail
    assert ADA in shown.attempts[0].detail

    await delete_person(desk.served.gateway.db, desk.app.app_id, ADA, desk.served.hands())

    shown = await desk.show(run.run_id)
    assert (shown.run.state, shown.run.detail) == ("failed", "")
    [attempt] = shown.attempts
    assert (attempt.outcome, attempt.detail, attempt.reply) == ("raised", "", "")


async def test_lines_and_links_are_pruned_with_their_runs(desk: TaskDesk) -> None:
    await desk.load("@task.on('user.enrolled')\ndef work(context): print('one'); print('two')")
    await desk.served.write(desk.app, {"userId": ADA, "type": "eval"})
    await desk.all_done("work", 1)
    later = desk.served.hands() + 1_000
    prune = partial(emptying.prune, finished_before=later, most=2)

    while await desk.served.gateway.db.write(prune) == 2:
        pass

    assert await count(desk, select(func.count()).select_from(lines_table)) == 0
    assert await count(desk, select(func.count()).select_from(links_table)) == 0
    assert await desk.page() == []


async def test_lines_noted_in_the_transaction_that_deletes_their_person_are_not_written(
    desk: TaskDesk,
) -> None:
    await load(desk, "@task.on('user.enrolled')\ndef work(context): pass")
    await desk.served.write(desk.app, {"userId": ADA, "type": "eval"})
    [run] = await desk.all_done("work", 1)
    job = _job_of(desk, run)

    def together(tx: Any) -> None:
        lines.note(tx, lines.Spoken(job=job, lane="", said=(lines.NewLine(1, 0, "info", "of Ada", ""),)))
        lines.erase(tx, desk.app.app_id, run.uid or "", 100)

    await desk.served.gateway.db.write(together)

    assert await desk.lines() == []


async def test_line_that_is_told_twice_is_kept_once(desk: TaskDesk) -> None:
    await load(desk, "@task.called\ndef work(context): pass")
    run_id = await desk.call("work")
    job = _job_of(desk, (await desk.until(run_id, "done")).run)
    spoken = lines.Spoken(job=job, lane="", said=(lines.NewLine(1, 0, "info", "once", ""),))

    for _ in range(2):
        await desk.served.gateway.db.write(partial(lines.note, spoken=spoken))

    assert [each.line for each in await desk.lines()] == ["once"]


async def test_commit_whose_answer_was_lost_applies_a_run_once(
    served_postgres_url: str, tmp_path: Path, proxy: Proxy
) -> None:
    proxy.url = served_postgres_url
    async with tasks_at(proxy.start(), tmp_path / "tasks") as desk:
        await load(desk, CREATES.replace('context.log.info("begun")', ""))
        run_id = await desk.call("work")
        await desk.until(run_id, "running")
        proxy.cut_after_commit = True
        gate_of(desk).touch()

        done = await desk.until(run_id, "done")

        assert not proxy.cut_after_commit
        assert [(each.attempt, each.outcome) for each in done.attempts] == [(1, "ok")]
        enrolled = select(func.count()).select_from(events).where(events.c.type == "user.enrolled")
        assert await count(desk, enrolled) == 1
        assert len(await desk.page(about=run_id)) == 1


# What goes out


async def test_requests_carry_the_same_key_at_each_attempt(desk: TaskDesk) -> None:
    script = in_turn(always(503), always(200, ok=True))
    async with receiving(script) as crm:
        await desk.load(
            f"""
            @task.called(retries=(0,))
            def work(context):
                context.http.patch({crm.url!r}, json={{"a": 1}}).raise_for_status()
                context.http.delete({crm.url!r}, key="bye", headers={{"X-Who": "me"}})
            """
        )
        run_id = await desk.call("work")
        done = await desk.until(run_id, "done", "failed")

    assert [each.outcome for each in done.attempts] == ["raised", "ok"]
    keys = [call.headers["idempotency-key"] for call in crm.calls]
    assert keys == [f"{run_id}.1", f"{run_id}.1", f"{run_id}.bye"]
    assert crm.calls[0].json == {"a": 1}
    assert crm.calls[2].headers["x-who"] == "me"


async def test_task_reaches_only_what_the_egress_policy_allows(served_url: str, tmp_path: Path) -> None:
    async with (
        receiving(always(200)) as inside,
        tasks_at(served_url, tmp_path / "tasks", egress_allow="10.9.9.9") as desk,
    ):
        await desk.load(
            f"""
            @task.called(retries=())
            def work(context):
                context.http.get({inside.url!r})
            """
        )
        failed = await desk.until(await desk.call("work"), "failed")

    assert inside.calls == []
    assert failed.run.detail.startswith("NotAnswered: ")
    assert "127.0.0.1" in failed.run.detail


# Requests


def asked(body: bytes = b"{}", key: str = "") -> Request:
    return Request(method="POST", path="/welcome", query=(), headers={"authorization": key}, body=body)


WELCOMES = """
import pathlib, time

@task.http("/welcome", authenticate=task.anybody, timeout=10)
def welcome(context):
    body = context.json()
    context.db.users.create(body["email"], type="prod")
    context.log.info("begun")
    while not pathlib.Path(GATE).exists():
        time.sleep(0.01)
    if "raise" in body:
        raise ValueError("no")
    return {"run": context.run.id}
"""


async def test_request_is_run_once_for_its_key_and_its_answer_told_again(desk: TaskDesk) -> None:
    await load(desk, WELCOMES)
    welcome, body = desk.task("welcome"), b'{"email": "ada@example.com"}'
    first = asyncio.create_task(desk.runs.execute_now(welcome, asked(body), key="k1"))
    [run] = await until(lambda: _pages(desk))
    await desk.until(run.run_id, "running")
    assert (await desk.runs.execute_now(welcome, asked(body), key="k1")).outcome == "under_way"
    gate_of(desk).touch()

    answered = await first
    again = await desk.runs.execute_now(welcome, asked(body), key="k1")
    other = await desk.runs.execute_now(welcome, asked(b'{"email": "bob@example.com"}'), key="k1")
    stranger = await desk.runs.execute_now(welcome, asked(b'{"email": "eve@example.com"}', "Eve"), key="k1")

    assert (answered.outcome, answered) == ("ok", again)
    assert msgspec.json.decode(msgspec.json.decode(answered.result)["body"])["run"] == run.run_id
    assert (other.outcome, stranger.outcome) == ("key_reused", "ok")
    assert stranger.run_id != answered.run_id
    assert await person(desk) is not None
    assert await person(desk, "bob@example.com") is None


@pytest.mark.parametrize("result", [b'"\x00"', b"\xff", b""])
async def test_an_answer_that_no_column_takes_is_a_failure(
    desk: TaskDesk, monkeypatch: pytest.MonkeyPatch, result: bytes
) -> None:
    """As code could send it that writes to the socket of its process itself."""
    await load(desk, WELCOMES)
    gate_of(desk).touch()
    honest = desk.runs.workshop.run

    async def lying(*arguments: Any) -> Any:
        return msgspec.structs.replace(await honest(*arguments), result=result)

    monkeypatch.setattr(desk.runs.workshop, "run", lying)
    body = b'{"email": "ada@example.com"}'
    executed = await desk.runs.execute_now(desk.task("welcome"), asked(body), key="k1")
    assert executed.outcome == "refused_changes"
    shown = await desk.show(executed.run_id)
    assert (shown.run.state, shown.run.detail) == ("failed", "What the task answered cannot be kept.")
    assert await person(desk) is None


async def test_request_that_raises_is_failed_and_not_tried_again(desk: TaskDesk) -> None:
    await load(desk, WELCOMES)
    gate_of(desk).touch()
    body = b'{"email": "ada@example.com", "raise": 1}'

    executed = await desk.runs.execute_now(desk.task("welcome"), asked(body), key="k1")

    assert (executed.outcome, executed.result) == ("raised", b"")
    shown = await desk.show(executed.run_id)
    assert (shown.run.state, shown.run.kind, len(shown.attempts)) == ("failed", "request", 1)
    assert await person(desk) is None
    assert (await desk.runs.execute_now(desk.task("welcome"), asked(body), key="k1")).outcome == "raised"
    assert (await desk.retry(executed.run_id)).code == "run_not_repeatable"


async def test_request_that_meets_a_conflict_is_refused_and_applies_nothing(desk: TaskDesk) -> None:
    await load(desk, WELCOMES)
    work = desk.runs.execute_now(desk.task("welcome"), asked(b'{"email": "ada@example.com"}'))
    running = asyncio.create_task(work)
    [run] = await until(lambda: _pages(desk))
    await until(lambda: _said(desk, run.run_id))
    await desk.served.write(desk.app, {"userId": ADA, "type": "eval"})
    gate_of(desk).touch()

    executed = await running

    assert executed.outcome == "conflict"
    ada = await person(desk)
    assert ada is not None
    assert ada.type == "eval"


async def test_who_hangs_up_does_not_end_the_run(desk: TaskDesk) -> None:
    await load(desk, WELCOMES)
    work = desk.runs.execute_now(desk.task("welcome"), asked(b'{"email": "ada@example.com"}'))
    caller = asyncio.create_task(work)
    [run] = await until(lambda: _pages(desk))
    caller.cancel()
    gate_of(desk).touch()

    await desk.until(run.run_id, "done")

    assert await person(desk) is not None


async def test_request_cut_short_by_a_crash_is_given_up_and_not_repeated(desk: TaskDesk) -> None:
    await load(desk, WELCOMES)
    gate_of(desk).touch()
    executed = await desk.runs.execute_now(desk.task("welcome"), asked(b'{"email": "ada@example.com"}'))
    # As it stands in the database when the server dies before the settlement.
    dead = (
        update(jobs)
        .where(jobs.c.job_id == executed.run_id)
        .values(state="claimed", finished_at=None, due_at=desk.served.hands())
    )
    await desk.served.gateway.db.write(lambda tx: tx.execute(dead))
    desk.served.gateway.db.signals.look_yourselves()

    failed = await desk.until(executed.run_id, "failed")

    assert failed.run.detail == "The server stopped while it ran. What somebody waits for is not repeated."
    assert len(failed.attempts) == 1


# Servers


async def test_named_queue_never_overlaps_over_two_servers(served_postgres_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    text = """
    import time

    @task.called(at_once=8)
    def one(context):
        begun = time.time()
        time.sleep(0.02)
        return [begun, time.time()]
    """
    async with tasks_at(served_postgres_url, folder) as first:
        await first.load(text)
        async with tasks_at(served_postgres_url, folder) as second:
            await second.load(text)
            ids = [await each.call("one", queue="crm") for _ in range(10) for each in (first, second)]
            done = [await first.until(run_id, "done") for run_id in ids]
            assert await count(first, select(func.count()).select_from(queues)) == 1

    spans = sorted(msgspec.json.decode(each.attempts[-1].reply) for each in done)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), spans


async def test_lanes_of_a_server_that_stops_are_taken_up_by_another_at_once(
    served_postgres_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "tasks"
    async with tasks_at(served_postgres_url, folder) as second:
        async with tasks_at(served_postgres_url, folder) as first:
            await first.load("@task.called\ndef one(context): pass")
            await first.until(await first.call("one"), "done")
        await second.load("@task.called\ndef one(context): pass")

        # Less than the 45 s for which the lane of a dead server is left alone.
        await second.until(await second.call("one"), "done", seconds=30.0)


# Parts


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    made = Proxy("")
    yield made
    await asyncio.to_thread(made.close)


def _job_of(desk: TaskDesk, run: Any) -> Any:
    from admit.jobs.queue import Job

    return Job(
        desk.app.app_id, run.run_id, "run", run.task_id, run.uid, 0, "", 1, 7, False, 0, run.created_at
    )


async def _said(desk: TaskDesk, run_id: str) -> list[str] | None:
    return await desk.said(run_id) or None


async def _dead(logs: list[Any], run_id: str) -> bool | None:
    return any((each["event"], each.get("job_id")) == ("job.dead", run_id) for each in logs) or None


async def _pages(desk: TaskDesk) -> list[Any] | None:
    return await desk.page() or None
