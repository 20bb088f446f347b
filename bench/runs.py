"""Runs of a task that does nothing, after events: claim, worker process, settle, beside bare frames.

    uv run python -m bench.runs [--runs 10000] [--repeat 5] [--databases sqlite,postgresql] [--at-once 4,16]

Per database and per `at_once` of the task: runs/s of a backlog (median, spread), the ratio to frames to and
from bare processes in the same run, CPU per run of the server, of the worker processes and of the database,
and memory at its peak.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import machine, servers

SECONDS_MAX = 300
LOOK_SECONDS = 0.05
TASK = """from admit import task


@task.on("user.enrolled", at_once={at_once})
def nothing(context: task.EventContext) -> None:
    pass
"""


@dataclass(frozen=True)
class Drained:
    """One backlog worked off."""

    per_second: float
    server_ms: float
    processes_ms: float
    database_ms: float
    memory_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10_000, help="of each backlog")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--at-once", default="4,16")
    options = parser.parse_args()
    for database in options.databases.split(","):
        print(f"\n{database}: {options.runs} runs of a task that does nothing, {options.repeat} times")
        print(
            "at once   runs/s (min–max)       frames/s   ratio   CPU ms: server  processes  database   memory"
        )
        for at_once in map(int, options.at_once.split(",")):
            _measure(database, at_once, runs=options.runs, repeat=options.repeat)


def _measure(database: str, at_once: int, *, runs: int, repeat: int) -> None:
    with servers.child("bench.runner", "frames", str(at_once)) as frames:
        raw_rates, drained = [], []
        for number in range(repeat + 1):  # the first one warms up
            raw = _raw(frames, runs)
            done = _drain(database, at_once, runs)
            if number:
                raw_rates.append(raw)
                drained.append(done)
    rates = [each.per_second for each in drained]
    ratio = statistics.median(rate / raw for rate, raw in zip(rates, raw_rates, strict=True))
    print(
        f"{at_once:>7}   {statistics.median(rates):>6.0f} ({min(rates):.0f}–{max(rates):.0f})"
        f"{'':>4}{statistics.median(raw_rates):>10.0f}   {ratio:>5.3f}"
        f"   {statistics.median(each.server_ms for each in drained):>14.3f}"
        f" {statistics.median(each.processes_ms for each in drained):>10.3f}"
        f" {statistics.median(each.database_ms for each in drained):>9.3f}"
        f"   {max(each.memory_mb for each in drained):.0f} MB",
        flush=True,
    )


def _raw(frames: "subprocess.Popen[str]", count: int) -> float:
    started = time.perf_counter()
    _ask(frames, str(count))
    return count / (time.perf_counter() - started)


def _drain(database: str, at_once: int, runs: int) -> Drained:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="admit-bench-")))
        tasks = folder / "tasks" / "bench"
        tasks.mkdir(parents=True)
        (tasks / "nothing.py").write_text(TASK.format(at_once=at_once))
        url, database_pid = f"sqlite:///{folder}/admit.db", 0
        if database == "postgresql":
            url, database_pid = stack.enter_context(servers.postgres(folder))
        words = [url, str(tasks.parent)]
        command = [sys.executable, "-m", "bench.runner", "fill", *words, str(runs)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        runner = stack.enter_context(servers.child("bench.runner", "run", *words))
        begun = _wait_for(runner, runs // 10)
        at, before = time.perf_counter(), _cpu(runner.pid, database_pid)
        done = _wait_for(runner, runs) - begun
        seconds, after = time.perf_counter() - at, _cpu(runner.pid, database_pid)
        server, processes, store = (
            (end - start) / done * 1_000 for start, end in zip(before, after, strict=True)
        )
        memory = sum(machine.peak_memory_mb(pid) for pid in machine.family(runner.pid))
        return Drained(done / seconds, server, processes, store, memory)


def _cpu(pid: int, database_pid: int) -> tuple[float, float, float]:
    """Of the server, of the processes below it, and of the database."""
    server = machine.own_cpu_seconds(pid)
    return (
        server,
        machine.cpu_seconds(pid) - server,
        machine.cpu_seconds(database_pid) if database_pid else 0.0,
    )


def _wait_for(runner: "subprocess.Popen[str]", count: int) -> int:
    give_up_at = time.monotonic() + SECONDS_MAX
    while (done := int(_ask(runner, "count"))) < count:
        if time.monotonic() > give_up_at:
            raise SystemExit(f"only {done} of {count} runs are done")
        time.sleep(LOOK_SECONDS)
    return done


def _ask(process: "subprocess.Popen[str]", line: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


if __name__ == "__main__":
    main()
