"""What a task may do to its process, and what the server and other tasks notice of it: nothing."""

import asyncio
import ctypes
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from admit.task import confinement, wire
from admit.tasks.stopped import Stopped
from tests.contract.workbench import Desk, code_of, gone, opened, order

MEMORY_BYTES = 200_000_000
PR_GET_DUMPABLE = 3
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells and allows this")

HOW_IT_GOES_ON = """
import ctypes, os, re, signal, socket, subprocess, threading, time
from admit import task

@task.called
def work(ctx):
    ctx.log.info(f"pid {os.getpid()}")
    how = ctx.parameters.get("how")
    if how is not None:
        return globals()[how](ctx)

def loop(ctx):
    while True: pass


def loop_in_c(ctx):
    sum(range(10**12))

def loop_in_a_regex(ctx):
    re.match(r"(a+)+$", "a" * 60 + "b")

def loop_and_catch_everything(ctx):
    for name in ("SIGTERM", "SIGINT", "SIGALRM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

def sleep(ctx):
    time.sleep(600)

def wait_for_a_lock(ctx):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def eat_memory(ctx):
    eaten = []
    while True:
        eaten.append(bytearray(10_000_000))

def exit(ctx):
    os._exit(7)

def crash(ctx):
    ctypes.string_at(0)

def end_itself(ctx):
    os.kill(os.getpid(), signal.SIGKILL)

def say_goodbye(ctx):
    os.write(2, b"the key is sesame-open, and the pool is empty\\n")
    os._exit(1)

def close_the_line(ctx):
    socket.socket(fileno=3).shutdown(socket.SHUT_RDWR)
    time.sleep(600)

def write_garbage(ctx):
    os.write(3, b"\\x00\\x00\\x00\\x04oops")
    time.sleep(600)

def announce_a_huge_frame(ctx):
    os.write(3, b"\\xff\\xff\\xff\\xff")
    time.sleep(600)

def end_twice(ctx):
    import msgspec
    from admit.task import wire
    body = msgspec.msgpack.encode(wire.Ended(result=b"1"))
    os.write(3, (wire.LENGTH.pack(len(body)) + body) * 2)
    time.sleep(600)

def load_again(ctx):
    import msgspec
    from admit.task import wire
    body = msgspec.msgpack.encode(wire.Loaded(()))
    os.write(3, wire.LENGTH.pack(len(body)) + body)
    time.sleep(600)

def flood_the_line(ctx):
    import msgspec
    from admit.task import wire
    body = msgspec.msgpack.encode(wire.Said(at=0, level="info", text="x" * 1_000))
    while True:
        os.write(3, wire.LENGTH.pack(len(body)) + body)

def flood_its_log(ctx):
    for number in range(100_000):
        ctx.log.info(f"line {number}")

def flood_its_output(ctx):
    for _ in range(200):
        subprocess.run(["head", "-c", "100000", "/dev/zero"], stderr=2, stdout=2, check=True)

def say_when_no_column_can(ctx):
    import msgspec
    from admit.task import wire
    body = msgspec.msgpack.encode(wire.Said(at=2**63, level="info", text="x"))
    os.write(3, wire.LENGTH.pack(len(body)) + body)
    time.sleep(600)

def call_when_no_column_can(ctx):
    import msgspec
    from admit.task import wire
    call = wire.NewCall(run_id="run_" + "0" * 40, task="work", parameters=b"{}", due_at=2**63)
    body = msgspec.msgpack.encode(wire.Ended(result=b"1", calls=(call,)))
    os.write(3, wire.LENGTH.pack(len(body)) + body)
    time.sleep(600)
"""


async def run(
    folder: Path, how: str, *, timeout_seconds: float = 30.0, memory_bytes: int = 10**9, **env: str
) -> tuple[Any, Desk]:
    """Runs `how`, sees that its process is gone and that the next run of the task is served by another."""
    code = code_of(folder, HOW_IT_GOES_ON)
    desk = Desk()
    async with opened(memory_bytes=memory_bytes) as workshop:
        wanted = order(parameters=b'{"how": "%s"}' % how.encode(), timeout_seconds=timeout_seconds, env=env)
        done = await workshop.run(code, wanted, desk)
        if isinstance(done, Stopped):
            await gone(int(await desk.hear("pid")))
        after = Desk()
        assert isinstance(await workshop.run(code, order(), after), wire.Ended)
        if isinstance(done, Stopped):
            assert await after.hear("pid") != await desk.hear("pid")
    return done, desk


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("loop", 13),
        ("loop_in_c", 17),
        ("loop_in_a_regex", 20),
        ("loop_and_catch_everything", 27),
        ("sleep", 32),
        ("wait_for_a_lock", 37),
    ],
)
async def test_a_task_that_does_not_come_to_an_end_is_ended_at_its_limit(
    tmp_path: Path, how: str, line: int
) -> None:
    done, _ = await run(tmp_path, how, timeout_seconds=1)
    assert done.kind == "timeout"
    assert done.detail.startswith(f"It was still running after 1 s, at door.py:{line} in {how}")


async def test_a_task_that_eats_memory_is_ended_at_its_limit(tmp_path: Path) -> None:
    done, _ = await run(tmp_path, "eat_memory", memory_bytes=MEMORY_BYTES)
    assert done.kind == "memory"
    assert done.detail == "It needed more than the 200 MB that a task may have, at door.py:42."


async def test_a_task_that_exits_is_reported_with_its_status(tmp_path: Path) -> None:
    done, _ = await run(tmp_path, "exit")
    assert done == Stopped(kind="crashed", detail="Its process has ended itself, with status 7.")


async def test_a_task_that_crashes_is_reported_with_signal_and_place(tmp_path: Path) -> None:
    done, _ = await run(tmp_path, "crash")
    assert done.kind == "crashed"
    assert done.detail.startswith("Its process was ended by SIGSEGV, at door.py:48 in crash.")


async def test_a_killed_process_is_reported(tmp_path: Path) -> None:
    done, _ = await run(tmp_path, "end_itself")
    assert done.kind == "crashed"
    assert "ended by SIGKILL from outside" in done.detail


async def test_the_last_words_of_a_process_are_reported_without_secrets(tmp_path: Path) -> None:
    done, _ = await run(tmp_path, "say_goodbye", KEY="sesame-open")
    assert done.detail == (
        "Its process has ended itself, with status 1. It wrote: the key is ***, and the pool is empty"
    )


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("write_garbage", "something that is none of its frames"),
        ("announce_a_huge_frame", "a frame of 4,294,967,295 bytes"),
        ("load_again", "Loaded out of turn"),
        ("flood_the_line", "more lines than a run may have"),
        ("say_when_no_column_can", "something that is none of its frames"),
        ("call_when_no_column_can", "something that is none of its frames"),
    ],
)
async def test_a_process_that_breaks_the_rules_of_the_line_is_ended(
    tmp_path: Path, how: str, what: str
) -> None:
    done, desk = await run(tmp_path, how)
    assert done == Stopped(kind="crashed", detail=f"It has sent the server {what}, and was ended for it.")
    assert len(desk.lines) <= 1_101


async def test_a_process_that_ends_twice_is_ended(tmp_path: Path) -> None:
    code = code_of(tmp_path, HOW_IT_GOES_ON)
    desk = Desk()
    async with opened() as workshop:
        await workshop.run(code, order(parameters=b'{"how": "end_twice"}'), desk)
        await gone(int(await desk.hear("pid")))
        assert isinstance(await workshop.run(code, order(), Desk()), wire.Ended)


async def test_a_process_that_closes_its_line_is_ended(tmp_path: Path) -> None:
    done, _ = await run(tmp_path, "close_the_line")
    assert done.kind == "crashed"


async def test_a_task_that_floods_its_log_is_cut_off_and_ends_well(tmp_path: Path) -> None:
    done, desk = await run(tmp_path, "flood_its_log")
    assert isinstance(done, wire.Ended)
    assert len(desk.lines) <= 1_001
    assert "dropped" in desk.lines[-1]


async def test_a_task_that_floods_its_output_ends_well(tmp_path: Path) -> None:
    done, _ = await run(tmp_path, "flood_its_output")
    assert isinstance(done, wire.Ended)


CHILDREN = """
import os, subprocess, sys, threading, time
from admit import task

SLEEP = "import os, time; os.write(1, str(os.getpid()).encode() + b' '); time.sleep(600)"
AWAY = "import os, sys\\nif os.fork(): os._exit(0)\\nos.setsid()\\nif os.fork(): os._exit(0)\\n" + SLEEP

def start(how):
    reads, writes = os.pipe()
    command = [sys.executable, "-c", AWAY if how == "away" else SLEEP]
    subprocess.Popen(command, stdout=writes, start_new_session=how == "session")
    return os.read(reads, 64).decode().strip()

@task.called
def work(ctx):
    ctx.log.info(f"pid {os.getpid()} {start(ctx.parameters['how'])}")
    match ctx.parameters["then"]:
        case "loop":
            while True:
                pass
        case "exit":
            os._exit(0)
"""


@linux
@pytest.mark.parametrize("then", ["loop", "exit", "return"])
@pytest.mark.parametrize("how", ["plain", "session", "away"])
async def test_what_a_task_has_started_ends_with_its_run(tmp_path: Path, how: str, then: str) -> None:
    code = code_of(tmp_path, CHILDREN)
    desk = Desk()
    async with opened() as workshop:
        parameters = f'{{"how": "{how}", "then": "{then}"}}'.encode()
        await workshop.run(code, order(parameters=parameters, timeout_seconds=3), desk)
        await gone(*map(int, (await desk.hear("pid")).split()))


async def test_a_thread_that_a_run_has_left_behind_ends_before_the_next_run(tmp_path: Path) -> None:
    code = code_of(
        tmp_path,
        """
        import os, threading, time
        from admit import task

        @task.called
        def work(ctx):
            ctx.log.info(f"pid {os.getpid()}")
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    """,
    )
    desks = Desk(), Desk()
    async with opened() as workshop:
        for desk in desks:
            assert isinstance(await workshop.run(code, order(), desk), wire.Ended)
    pids = [await desk.hear("pid") for desk in desks]
    assert pids[0] != pids[1]


LOOKS_AROUND = """
import ctypes, os
from admit import task

@task.called
def work(ctx):
    ctx.log.info(f"environment {sorted(os.environ)}")
    ctx.log.info(f"limit {limit()}")
    ctx.log.info(f"descriptors {sorted(map(int, os.listdir('/dev/fd')))}")
    ctx.log.info(f"score {score()}")
    for name in ("environ", "mem", "maps", "fd"):
        ctx.log.info(f"{name} {look(ctx.parameters['server'], name)}")
        ctx.log.info(f"other {name} {look(ctx.parameters['other'], name)}")
    ctx.log.info(f"trace {ctypes.CDLL(None).ptrace(16, ctx.parameters['server'], 0, 0)}")

def limit():
    import resource
    return resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_CORE)[0]

def score():
    with open("/proc/self/oom_score_adj") as file:
        return file.read().strip()

def look(pid, name):
    try:
        if name == "fd":
            return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read(100)
    except OSError as error:
        return type(error).__name__

@task.called
def other(ctx):
    return os.getpid()
"""


@linux
async def test_a_task_sees_neither_the_server_nor_another_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIT_SECRET_KEY", "a secret that nobody sees")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another one")
    code = code_of(tmp_path, LOOKS_AROUND)
    desk = Desk()
    async with opened() as workshop:
        other = await workshop.run(code, order("other"), Desk())
        assert isinstance(other, wire.Ended)
        parameters = b'{"server": %d, "other": %s}' % (os.getpid(), other.result)
        done = await workshop.run(code, order(parameters=parameters, env={"KEY": "x"}), desk)
    assert isinstance(done, wire.Ended), done
    seen = dict(line.split(" ", 1) for line in desk.lines if not line.startswith("other"))
    others = dict(line.split(" ", 1)[1].split(" ", 1) for line in desk.lines if line.startswith("other"))
    assert set(eval(seen["environment"])) <= {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"}
    assert [seen[name] for name in ("environ", "mem", "maps", "fd")] == ["PermissionError"] * 4
    assert [others[name] for name in ("environ", "mem", "maps", "fd")] == ["PermissionError"] * 4
    assert seen["trace"] == "-1"
    assert seen["limit"] == "(1000000000, 0)"
    assert seen["score"] == "1000"
    assert seen["descriptors"] == "[0, 1, 2, 3, 4]"  # 4: the list itself


@linux
async def test_a_server_that_runs_tasks_is_closed_to_other_processes_of_its_user() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(confinement.PR_SET_DUMPABLE, 1, 0, 0, 0)
    async with opened():
        assert libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0


@linux
async def test_a_killed_server_leaves_no_process(tmp_path: Path) -> None:
    """Not even one that loops in C and has started others."""
    server = await asyncio.create_subprocess_exec(
        *_python("tests.contract.mortal_workshop", str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    line = await asyncio.wait_for(server.stdout.readline(), 30)
    pids = [int(word) for word in line.split()]
    assert len(pids) >= 4
    os.kill(server.pid, signal.SIGKILL)
    await server.wait()
    await gone(*pids)


def _python(*words: str) -> list[str]:
    import sys

    return [sys.executable, "-m", *words]
