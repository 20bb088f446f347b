"""Deliveries of 1 kB events: claim, sign, POST, record, beside the raw loop of the same HTTP client.

    uv run python -m bench.deliveries [--deliveries 10000] [--runs 5] [--databases sqlite,postgresql]

Per database, with 1, 10 and 100 endpoints: deliveries/s of a backlog (median, spread), CPU per delivery, the
ratio to the raw client loop of the same run; then, at half that rate, p50 and p99 from record to arrival; the
same with 1 of 10 endpoints hanging, and with 200,000 retries waiting for a dead one. The receivers run on the
same cores.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine, servers

PACED_SECONDS = 8
WAITING_RETRIES = 200_000


@dataclass(frozen=True)
class Drained:
    """One backlog worked off."""

    per_second: float
    cpu_ms: float
    database_cpu_ms: float
    memory_mb: float


@dataclass(frozen=True)
class Paced:
    """Events at a rate."""

    p50_ms: float
    p99_ms: float
    cpu_ms: float
    memory_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--deliveries", type=int, default=10_000, help="per run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--endpoints", default="1,10,100")
    parser.add_argument("--retries", type=int, default=WAITING_RETRIES)
    options = parser.parse_args()
    for database in options.databases.split(","):
        print(f"\n{database}: {options.deliveries} deliveries a run, {options.runs} runs, 1 kB each")
        print(
            "endpoints   deliveries/s (min–max)    raw loop/s   ratio   CPU ms   database CPU ms   raw CPU ms"
        )
        rate = 0.0
        for endpoints in map(int, options.endpoints.split(",")):
            rate = _throughput(database, endpoints, deliveries=options.deliveries, runs=options.runs)
        _latency(database, rate / 2, options.retries)


def _throughput(database: str, endpoints: int, *, deliveries: int, runs: int) -> float:
    with ExitStack() as stack:
        ports = stack.enter_context(_sink(endpoints, 0))
        client = stack.enter_context(servers.child("bench.courier", "post", *map(str, ports)))
        raw_rates, raw_cpu, drained = [], [], []
        for run in range(runs + 1):  # the first one warms up
            rate, cpu_ms = _raw(client, ports, deliveries)
            done = _drain(database, ports, deliveries)
            if run:
                raw_rates.append(rate)
                raw_cpu.append(cpu_ms)
                drained.append(done)
        rates = [each.per_second for each in drained]
        ratio = statistics.median(rate / raw for rate, raw in zip(rates, raw_rates, strict=True))
        print(
            f"{endpoints:>9}   {statistics.median(rates):>8.0f} ({min(rates):.0f}–{max(rates):.0f})"
            f"{'':>6}{statistics.median(raw_rates):>9.0f}   {ratio:>6.2f}"
            f" {statistics.median(each.cpu_ms for each in drained):>8.3f}"
            f" {statistics.median(each.database_cpu_ms for each in drained):>17.3f}"
            f" {statistics.median(raw_cpu):>12.3f}   memory {max(each.memory_mb for each in drained):.0f} MB",
            flush=True,
        )
        return statistics.median(rates)


def _raw(client: "subprocess.Popen[str]", ports: Sequence[int], count: int) -> tuple[float, float]:
    before, started = machine.cpu_seconds(client.pid), time.perf_counter()
    _say(client, str(count))
    seconds = time.perf_counter() - started
    _told(ports)
    return count / seconds, (machine.cpu_seconds(client.pid) - before) / count * 1_000


def _drain(database: str, ports: Sequence[int], deliveries: int) -> Drained:
    with _database(database) as (folder, url, database_pid):
        _fill(url, deliveries // len(ports), ports, folder)
        with servers.child("bench.courier", "deliver", url) as worker:
            _wait_for(ports, deliveries // 10)
            count, at = _count(ports), time.perf_counter()
            before = machine.cpu_seconds(worker.pid)
            database_before = machine.cpu_seconds(database_pid) if database_pid else 0.0
            _wait_for(ports, deliveries // len(ports) * len(ports))
            done, seconds = _count(ports) - count, time.perf_counter() - at
            cpu = machine.cpu_seconds(worker.pid) - before
            database_cpu = machine.cpu_seconds(database_pid) - database_before if database_pid else 0.0
            memory = machine.peak_memory_mb(worker.pid)
            _told(ports)
        return Drained(done / seconds, cpu / done * 1_000, database_cpu / done * 1_000, memory)


def _latency(database: str, per_second: float, retries: int) -> None:
    """Deliveries per second, over ten endpoints; an eleventh hangs, or has retries waiting."""
    with _sink(10, 1) as ports:
        events = per_second / 10
        alone = _paced(database, ports[:10], ports[:10], events)
        hanging = _paced(database, ports, ports[:10], events)
        waiting = _paced(database, ports, ports[:10], events, dead_retries=retries)
    print(f"half load, {per_second:.0f} deliveries/s to 10 endpoints, from record to arrival:")
    for name, each in (
        ("all are well", alone),
        ("one more hangs", hanging),
        (f"{retries} retries wait for one more", waiting),
    ):
        print(
            f"  {name:<34} p50 {each.p50_ms:.1f} ms, p99 {each.p99_ms:.1f} ms "
            f"({each.p99_ms / alone.p99_ms:.2f}), CPU {each.cpu_ms:.3f} ms "
            f"({each.cpu_ms / alone.cpu_ms:.2f}), memory {each.memory_mb:.0f} MB",
            flush=True,
        )


def _paced(
    database: str, ports: Sequence[int], counted: Sequence[int], per_second: float, *, dead_retries: int = 0
) -> Paced:
    with _database(database) as (folder, url, _):
        _fill(url, 0, ports, folder)
        if dead_retries:
            _run("retries", url, str(dead_retries), str(ports[-1]), folder=folder)
        with servers.child("bench.courier", "deliver", url) as worker:
            _say(worker, f"pace {per_second} 1")
            time.sleep(0.5)
            _told(counted)
            before = machine.cpu_seconds(worker.pid)
            _say(worker, f"pace {per_second} {PACED_SECONDS}")
            _wait_for(counted, int(per_second * PACED_SECONDS) * len(counted) * 99 // 100)
            cpu = machine.cpu_seconds(worker.pid) - before
            told = _told(counted)
            memory = machine.peak_memory_mb(worker.pid)
        return Paced(told["p50_ms"], told["p99_ms"], cpu / told["count"] * 1_000, memory)


@contextmanager
def _database(kind: str) -> Iterator[tuple[Path, str, int]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="admit-bench-")))
        if kind == "postgresql":
            yield folder, *stack.enter_context(servers.postgres(folder))
        else:
            yield folder, f"sqlite:///{folder}/admit.db", 0


@contextmanager
def _sink(ports: int, hanging: int) -> Iterator[list[int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.sink", str(ports), str(hanging)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(timeout=10)


def _fill(url: str, events: int, ports: Sequence[int], folder: Path) -> None:
    _run("fill", url, str(events), *map(str, ports), folder=folder)


def _run(*words: str, folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "bench.courier", *words], check=True, stdout=subprocess.DEVNULL)


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def _wait_for(ports: Sequence[int], count: int) -> None:
    give_up_at = time.monotonic() + 300
    while _count(ports) < count:
        if time.monotonic() > give_up_at:
            raise SystemExit(f"only {_count(ports)} of {count} deliveries arrived")
        time.sleep(0.02)


def _count(ports: Sequence[int]) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/count", timeout=10) as answer:
        return int(answer.read())


def _told(ports: Sequence[int]) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/", timeout=10) as answer:
        told: dict[str, Any] = json.load(answer)
        return told


if __name__ == "__main__":
    main()
