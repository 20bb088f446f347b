"""Logins while tasks loop, sleep and crash: they do not notice. No times are measured; that is bench's."""

import asyncio

from admit.accounts.app_settings import PolicySetting
from admit.tasks.workshop import Workshop
from tests.contract.task_desk import TaskDesk, desk, until
from tests.contract.test_devices_at_the_door import vouched
from tests.contract.test_every_way_in import choose
from tests.contract.workbench import gone

__all__ = ["desk"]

TASKS = """
import ctypes, os, time

@task.decides
def decide(context):
    return task.admit("prod")

@task.on("user.enrolled", at_once=64)
def loop(context):
    context.log.info(f"pid {os.getpid()}")
    while True:
        pass

@task.called(at_once=64)
def sleep(context):
    context.log.info(f"pid {os.getpid()}")
    time.sleep(600)

@task.called(retries=(0, 0, 0))
def crash(context):
    ctypes.string_at(0)
"""


async def test_people_come_in_while_tasks_loop_sleep_and_crash(desk: TaskDesk) -> None:
    await desk.load(TASKS)
    client = await desk.served.client(desk.app)
    await choose(desk.served, desk.app, PolicySetting(kind="task", task="decide"))
    slow = [await desk.call("sleep") for _ in range(20)]
    crashing = await desk.call("crash")

    logins = [vouched(desk.served, client, f"person{number}@example.com") for number in range(20)]
    answered = await asyncio.gather(*logins)
    looping = await until(lambda: _said(desk, "loop"))
    one_more = await vouched(desk.served, client, "late@example.com")

    assert [each.status for each in [*answered, one_more]] == [200] * 21
    failed = await desk.until(crashing, "failed", "done")
    assert [each.outcome for each in failed.attempts] == ["crashed"] * 4
    sleeping = await until(lambda: _said(desk, "sleep"))
    for run_id in slow:
        await desk.cancel(run_id)
    await gone(*sleeping)
    workshop = desk.served.gateway.workshop
    assert isinstance(workshop, Workshop)
    await workshop.close()
    await gone(*looping)


async def _said(desk: TaskDesk, task: str) -> list[int] | None:
    """The ids of the processes in which runs of `task` are under way, once there are any."""
    lines = await desk.lines(lane=desk.task(task).task_id)
    return [int(each.line.removeprefix("pid ")) for each in lines if each.line.startswith("pid ")] or None
