"""Runs in worker processes: what is kept apart, what is reused, and what ends a run."""

import asyncio
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import uvloop

from admit.errors import ConfigError
from admit.task import wire
from admit.task.payloads import Request
from admit.tasks.worker_process import WorkerProcess
from admit.tasks.workshop import Result, Stopped, Workshop
from tests.contract.workbench import Desk, code_of, gone, opened, order, shared

REQUEST = Request(method="POST", path="/work", query=(), headers={}, body=b"")

PID = """
    import os
    from admit import task

    @task.called
    def work(ctx):
        return os.getpid()

    @task.called
    def other(ctx):
        return os.getpid()
"""


def result(done: Result) -> Any:
    """What a run has returned."""
    assert isinstance(done, wire.Ended), done
    return json.loads(done.result)


def stopped(done: Result) -> Stopped:
    """How a run was stopped."""
    assert isinstance(done, Stopped), done
    return done


async def test_examined_code_tells_its_tasks(tmp_path: Path) -> None:
    async with opened() as workshop:
        tasks = await workshop.examine(code_of(tmp_path, PID))
    assert sorted(each.name for each in tasks) == ["other", "work"]  # type: ignore[union-attr]


def test_it_works_on_the_loop_of_a_server(tmp_path: Path) -> None:
    async def work() -> Any:
        async with opened() as workshop:
            return result(await workshop.run(code_of(tmp_path, PID), order(), Desk()))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(work()) != os.getpid()


async def test_code_that_does_not_import_is_a_problem_with_file_and_line(tmp_path: Path) -> None:
    async with opened() as workshop:
        (problem,) = await workshop.examine(code_of(tmp_path, "\nimport nothing_of_this_name\n"))
    assert (problem.file, problem.line) == ("door.py", 2)


async def test_code_that_imports_for_ever_is_a_problem(tmp_path: Path) -> None:
    async with opened() as workshop:
        (problem,) = await workshop.examine(code_of(tmp_path, "while True: pass\n"), timeout_seconds=1)
        work = code_of(tmp_path, PID)
        assert len(await workshop.examine(work)) == 2
    assert "after 1 s, at door.py:1" in problem.message  # type: ignore[union-attr]


async def test_a_process_is_kept_for_the_next_run_of_the_same_task(tmp_path: Path) -> None:
    code = code_of(tmp_path, PID)
    async with opened() as workshop:
        first = result(await workshop.run(code, order(), Desk()))
        assert result(await workshop.run(code, order(), Desk())) == first != os.getpid()


async def test_two_tasks_never_share_a_process(tmp_path: Path) -> None:
    code = code_of(tmp_path, PID)
    async with opened() as workshop:
        work = result(await workshop.run(code, order("work"), Desk()))
        assert result(await workshop.run(code, order("other"), Desk())) != work


async def test_two_apps_never_share_a_process(tmp_path: Path) -> None:
    async with opened() as workshop:
        here = result(await workshop.run(code_of(tmp_path, PID), order(), Desk()))
        there = result(await workshop.run(code_of(tmp_path, PID, app_id="app_2"), order(), Desk()))
    assert here != there


async def test_new_code_runs_in_a_new_process_and_the_old_one_ends(tmp_path: Path) -> None:
    old, new = code_of(tmp_path, PID), code_of(tmp_path, PID + "    # changed")
    async with opened() as workshop:
        before = result(await workshop.run(old, order(), Desk()))
        await workshop.retire(new.app_id, new.version)
        await gone(before)
        assert result(await workshop.run(new, order(), Desk())) != before


async def test_a_run_of_old_code_may_end_before_its_process_does(tmp_path: Path) -> None:
    code = code_of(
        tmp_path,
        """
        import os
        from admit import task

        @task.called
        def work(ctx):
            ctx.log.info(f"pid {os.getpid()}")
            ctx.db.users.get("ada")
            return "done"
    """,
    )
    desk = Doorkeeper()
    async with opened() as workshop:
        run = asyncio.create_task(workshop.run(code, order(), desk))
        pid = int(await desk.hear("pid"))
        await workshop.retire(code.app_id, "another")
        desk.open.set()
        assert result(await run) == "done"
        await gone(pid)


async def test_a_warm_process_stands_ready_and_is_replaced_when_it_dies(tmp_path: Path) -> None:
    code = code_of(
        tmp_path,
        """
        import os
        from admit import task

        with open("born", "a") as born:
            born.write(f"{os.getpid()}\\n")

        @task.http("/work", authenticate=task.anybody)
        def work(context):
            os._exit(1)
        """,
    )
    born = tmp_path / "born"
    async with opened() as workshop:
        await workshop.keep_warm(code, "work")
        (first,) = born.read_text().split()
        asked = order(payload=REQUEST, urgent=True)
        assert stopped(await workshop.run(code, asked, Desk())).kind == "crashed"
        async with asyncio.timeout(20):
            while born.read_text().split() == [first]:
                await asyncio.sleep(0.01)
        assert len(born.read_text().split()) == 2


async def test_many_runs_at_once_go_into_as_many_processes(tmp_path: Path) -> None:
    code = code_of(
        tmp_path,
        """
        import os
        from admit import task

        @task.called
        def work(ctx):
            ctx.db.users.get("ada")
            return os.getpid()
    """,
    )
    desk = Doorkeeper()
    async with opened() as workshop:
        runs = [
            asyncio.create_task(workshop.run(code, order(run_id=f"run_{n}", at_once=3), desk))
            for n in range(5)
        ]
        await desk.asked(3)
        desk.open.set()
        pids = {result(await run) for run in runs}
    assert len(pids) == 3


async def test_a_task_that_raises_keeps_its_process(tmp_path: Path) -> None:
    code = code_of(
        tmp_path,
        """
        import os
        from admit import task

        @task.called
        def work(ctx):
            raise ValueError(os.getpid())
    """,
    )
    async with opened() as workshop:
        first, second = [await workshop.run(code, order(), Desk()) for _ in range(2)]
    assert isinstance(first, wire.Raised)
    assert isinstance(second, wire.Raised)
    assert (first.error, first.place) == ("ValueError", "door.py:7")
    assert first.message == second.message


async def test_a_run_is_ended_by_its_id_and_the_task_goes_on(tmp_path: Path) -> None:
    code = code_of(
        tmp_path,
        """
        import os, time
        from admit import task

        @task.called
        def work(ctx):
            ctx.log.info(f"pid {os.getpid()}")
            while ctx.parameters.get("long"):
                time.sleep(60)
    """,
    )
    desk = Desk()
    async with opened() as workshop:
        run = asyncio.create_task(workshop.run(code, order(parameters=b'{"long": true}'), desk))
        pid = int(await desk.hear("pid"))
        assert not workshop.end("run_2")
        assert workshop.end("run_1")
        assert stopped(await run) == Stopped(kind="stopped", detail="It was cancelled.")
        await gone(pid)
        assert result(await workshop.run(code, order(), Desk())) is None
        assert not workshop.end("run_1")


async def test_who_gives_up_a_run_ends_its_process(tmp_path: Path) -> None:
    code = code_of(tmp_path, LOOPS)
    desk = Desk()
    async with opened() as workshop:
        run = asyncio.create_task(workshop.run(code, order(), desk))
        pid = int(await desk.hear("pid"))
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await gone(pid)


async def test_code_that_no_longer_loads_begins_nothing(tmp_path: Path) -> None:
    code = code_of(tmp_path, "raise RuntimeError('no database here')\n")
    async with opened() as workshop:
        done = stopped(await workshop.run(code, order(), Desk()))
    assert done.kind == "broken"
    assert "door.py:1" in done.detail


async def test_where_no_process_can_be_started_nothing_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the machine has no more files, processes or memory to give. Whoever waits is told."""
    code = code_of(tmp_path, PID)

    async def none_left(*_arguments: Any) -> WorkerProcess:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with opened() as workshop:
        with monkeypatch.context() as patched:
            patched.setattr(WorkerProcess, "start", none_left)
            done = stopped(await workshop.run(code, order(urgent=True), Desk()))
        assert done == Stopped(kind="busy", detail="No process could be started: Too many open files.")
        assert result(await workshop.run(code, order(urgent=True), Desk())) > 0


async def test_slow_tasks_never_hold_up_a_decision(tmp_path: Path) -> None:
    code = code_of(
        tmp_path,
        LOOPS
        + """
    @task.http("/page", authenticate=task.anybody)
    def page(ctx):
        return "hello"
    """,
    )
    desk = Desk()
    async with opened(processes_max=4) as workshop:
        slow = [
            asyncio.create_task(workshop.run(code, order(name, run_id=name), desk))
            for name in ("work", "again", "third", "fourth")
        ]
        await desk.hear("pid")
        urgent = order("page", payload=REQUEST, urgent=True, timeout_seconds=10)
        assert result(await workshop.run(code, urgent, Desk()))["status"] == 200
        for run in slow:
            run.cancel()


async def test_an_urgent_run_that_finds_no_process_in_its_time_begins_nothing(tmp_path: Path) -> None:
    code = code_of(tmp_path, LOOPS)
    desk = Desk()
    async with opened() as workshop:
        first = asyncio.create_task(workshop.run(code, order(at_once=1, urgent=True), desk))
        await desk.hear("pid")
        second = order(run_id="run_2", at_once=1, urgent=True, timeout_seconds=0.2)
        done = stopped(await workshop.run(code, second, desk))
        assert done == Stopped(kind="busy", detail="All places for tasks were taken for 0.2 s.")
        assert len(desk.lines) == 1
        first.cancel()


async def test_a_run_that_waits_for_its_place_can_be_ended(tmp_path: Path) -> None:
    code = code_of(tmp_path, LOOPS)
    desk = Desk()
    async with opened() as workshop:
        first = asyncio.create_task(workshop.run(code, order(at_once=1), desk))
        await desk.hear("pid")
        second = asyncio.create_task(workshop.run(code, order(run_id="run_2", at_once=1), desk))
        await asyncio.sleep(0)
        assert workshop.end("run_2")
        assert stopped(await second).kind == "stopped"
        first.cancel()


async def test_a_closed_workshop_leaves_no_process_and_begins_nothing(tmp_path: Path) -> None:
    code = code_of(tmp_path, LOOPS + PID.replace("work(", "idle("))
    desk = Desk()
    async with opened() as workshop:
        idle = result(await workshop.run(code, order("other"), Desk()))
        run = asyncio.create_task(workshop.run(code, order(), desk))
        pid = int(await desk.hear("pid"))
        await workshop.close()
        assert stopped(await run).kind == "stopped"
        assert stopped(await workshop.run(code, order(), desk)).kind == "stopped"
    await gone(pid, idle)


async def test_a_workshop_that_closes_while_a_run_begins_leaves_no_process(tmp_path: Path) -> None:
    born = tmp_path / "born"
    code = code_of(
        tmp_path,
        """
        import os, time

        with open("born", "w") as born:
            born.write(str(os.getpid()))
        time.sleep(600)
        """,
    )
    async with opened() as workshop:
        run = asyncio.create_task(workshop.run(code, order(), Desk()))
        async with asyncio.timeout(20):
            while not (born.exists() and born.read_text()):
                await asyncio.sleep(0.01)
        await workshop.close()
        assert stopped(await run).kind == "stopped"
    await gone(int(born.read_text()))


async def test_a_user_that_does_not_exist_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="TASKS_USER"):
        Workshop(processes_max=4, memory_bytes=10**9, user="nobody-of-this-name")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run processes of other users")
@pytest.mark.skipif(not shared(sys.executable), reason="this Python belongs to root alone")
async def test_processes_of_tasks_run_as_the_user_that_is_set(tmp_path: Path) -> None:
    code = code_of(
        tmp_path,
        """
        import os
        from admit import task

        @task.called
        def work(ctx):
            return [os.getuid(), os.getgid(), os.getgroups()]
    """,
    )
    async with opened(user="nobody") as workshop:
        user, group, groups = result(await workshop.run(code, order(), Desk()))
    assert user != 0 != group
    assert groups == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run processes of other users")
@pytest.mark.skipif(shared(sys.executable), reason="everybody may use this Python")
async def test_a_user_who_may_not_use_this_python_stops_the_start(tmp_path: Path) -> None:
    async with opened(user="nobody") as workshop:
        with pytest.raises(ConfigError, match="TASKS_USER: that user cannot start"):
            await workshop.examine(code_of(tmp_path, PID))


async def test_when_the_parent_of_all_processes_is_killed_another_takes_its_place(tmp_path: Path) -> None:
    code = code_of(
        tmp_path,
        """
        import os
        from admit import task

        @task.called
        def work(ctx):
            ctx.log.info(f"pid {os.getpid()} {os.getppid()}")
            while ctx.parameters.get("long"):
                pass
    """,
    )
    desk = Desk()
    async with opened() as workshop:
        run = asyncio.create_task(workshop.run(code, order(parameters=b'{"long": true}'), desk))
        pid, parent = map(int, (await desk.hear("pid")).split())
        os.kill(parent, 9)
        assert stopped(await run).kind == "crashed"
        await gone(pid, parent)
        assert result(await workshop.run(code, order(), Desk())) is None


LOOPS = """
    import os
    from admit import task

    def loop(ctx):
        ctx.log.info(f"pid {os.getpid()}")
        while True:
            pass

    @task.called
    def work(ctx):
        loop(ctx)

    @task.called
    def again(ctx):
        loop(ctx)

    @task.called
    def third(ctx):
        loop(ctx)

    @task.called
    def fourth(ctx):
        loop(ctx)
"""


class Doorkeeper(Desk):
    """Answers nobody until it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()

    async def answer(self, question: wire.Question) -> Any:
        self.questions.append(question)
        self._heard.set()
        await self.open.wait()

    async def asked(self, count: int) -> None:
        """Waits until so many have asked."""
        async with asyncio.timeout(30):
            while len(self.questions) < count:
                self._heard.clear()
                await self._heard.wait()
