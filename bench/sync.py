"""Synced data: pushes of one row, a change on its way to another client, a first sync, many objects.

    uv run python -m bench.sync [--objects 1000,100000,1000000] [--databases sqlite,postgresql] [--runs 5]

200 people, each with a device that pushes one row at a time as dexie-cloud-addon does: in turns a new object
and a change of one. Prints, per database and number of objects there are: pushes/s with p50 and p99, CPU of
server and database per push, and what an empty request costs in the same run. With the first number of
objects also: how long a change takes to the same person's other device, which listens, at half of the load
that is the goal and at half of what was reached; and the first sync of 10,000 objects, to its last byte.
Medians, and in brackets the least and the most of the runs. The load runs in this process and on the same
cores.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from pathlib import Path

import uvloop

from bench import first_login, load, machine, objects, people, servers
from bench.devices import Device, listen, sign_in

READ = 10_000
"""The objects of whoever syncs for the first time."""
GOALS = {"sqlite": 2_000.0, "postgresql": 1_500.0}
"""Pushes a second that are to be reached."""
HALF_LOAD_SECONDS = 5.0
ARRIVAL_SECONDS_MAX = 10.0


@dataclass(frozen=True)
class Bench:
    """A server, the devices of its people that push, and `listeners`, another device of each."""

    server: servers.Server
    database_pid: int
    folder: Path
    devices: Sequence[Device]
    listeners: Sequence[Device]
    reader: Device

    def cpu(self) -> tuple[float, float]:
        """CPU seconds of server and database until now."""
        database = machine.cpu_seconds(self.database_pid) if self.database_pid else 0.0
        return machine.cpu_seconds(self.server.pid), database


@dataclass(frozen=True)
class Run:
    """One run: per second, p50 and p99 in ms, CPU ms of server and database each."""

    per_second: float
    p50_ms: float
    p99_ms: float
    server_ms: float
    database_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--pushes", type=int, default=6_000, help="of each run")
    parser.add_argument("--objects", default="1000,100000,1000000", help="that are there at the start")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    for database in options.databases.split(","):
        for number, count in enumerate(map(int, options.objects.split(","))):
            with ExitStack() as stack:
                bench = _prepared(stack, database, options.clients, count)
                rate = _pushes(bench, options.pushes, options.runs)
                if number == 0:
                    uvloop.run(_first_pulls(bench.listeners))
                    for whole in (GOALS[database], rate):
                        _changes(bench, whole / 2, options.runs)
                    _first_syncs(bench, options.runs)
                print(f"memory at its peak: {machine.peak_memory_mb(bench.server.pid):.0f} MB", flush=True)


def _prepared(stack: ExitStack, database: str, clients: int, count: int) -> Bench:
    """A server whose app has `clients` people with `count` objects together, and one more with READ."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="admit-bench-")))
    url, database_pid = f"sqlite:///{folder}/admit.db", 0
    if database == "postgresql":
        url, database_pid = stack.enter_context(servers.postgres(folder))
    each = max(1, count // clients)

    def move_in(database_url: str, app: str) -> None:
        people.fill(database_url, app, objects.PROD * (clients + 1))
        seconds = objects.fill(database_url, app, crowd=clients, each=each, reader=clients + 1, read=READ)
        print(f"\n{database}, {clients} clients, {count:,} objects, written in {seconds:.0f} s", flush=True)

    server = stack.enter_context(servers.admit_server(folder, url, 9, before_serving=move_in))
    crowd = range(1, clients + 2)
    (*devices, reader), (*listeners, _) = (
        [Device(server, person, token, notes=each) for person, token in zip(crowd, tokens, strict=True)]
        for tokens in (sign_in(server, crowd, first_login.public_key()) for _ in range(2))
    )
    uvloop.run(_first_pulls(devices))
    return Bench(server, database_pid, folder, devices, listeners, reader)


async def _first_pulls(devices: Iterable[Device]) -> None:
    for device in devices:
        device.told(await device.first_pull())


def _pushes(bench: Bench, count: int, runs: int) -> float:
    """Pushes in a closed loop, beside empty requests; returns the median of pushes/s."""
    _measured(bench, _push_all(bench, count // 4))
    pushed, empty = [], []
    for _ in range(runs):
        pushed.append(_measured(bench, _push_all(bench, count)))
        empty.append(_measured(bench, _ask_nothing(bench, count)))
    _print("pushes", pushed)
    _print("empty requests", empty)
    ratio = statistics.median(
        one.per_second / other.per_second for one, other in zip(pushed, empty, strict=True)
    )
    fsyncs = machine.fsyncs_per_second(bench.folder)
    print(f"a push is {ratio:.2f} of an empty request; fsync of 8 kB: {fsyncs:.0f}/s; {_load_of_machine()}")
    return statistics.median(each.per_second for each in pushed)


def _measured(bench: Bench, work: Coroutine[object, object, load.Tally]) -> Run:
    before = bench.cpu()
    tally = uvloop.run(work)
    done = len(tally.latencies_ms)
    server_ms, database_ms = (
        (then - now) / done * 1_000 for now, then in zip(before, bench.cpu(), strict=True)
    )
    return Run(tally.per_second, tally.percentile(0.5), tally.percentile(0.99), server_ms, database_ms)


async def _push_all(bench: Bench, count: int) -> load.Tally:
    """Every device pushes, one push after the other, until there were `count`."""
    tally, left = load.Tally(), itertools.repeat(None, count)

    async def pushing(device: Device) -> None:
        connection = await load.connect(bench.server.port)
        for _ in left:
            request, _key = device.push()
            sent = time.perf_counter()
            answer = await connection.send(request)
            tally.latencies_ms.append((time.perf_counter() - sent) * 1_000)
            device.take(answer)
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*map(pushing, bench.devices))
    tally.seconds = time.perf_counter() - started
    return tally


async def _ask_nothing(bench: Bench, count: int) -> load.Tally:
    """As many requests that neither read nor write anything, over as many connections."""
    requests = itertools.repeat(load.get("/healthz", "none"), count)
    return await load.closed_loop(bench.server.port, requests, b"200 OK", concurrency=len(bench.devices))


def _changes(bench: Bench, per_second: float, runs: int) -> None:
    """Pushes at a fixed rate, and how long each takes until the same person's other device has it."""
    tallies = [uvloop.run(_tell(bench, per_second)) for _ in range(runs)]
    for share in (0.5, 0.99):
        found = [each.percentile(share) for each in tallies]
        print(
            f"a change at another open client, {per_second:.0f} pushes/s: p{share * 100:.0f} "
            f"{statistics.median(found):.1f} ms ({min(found):.1f}–{max(found):.1f})"
        )
    print(f"of {sum(len(each.latencies_ms) for each in tallies)} changes; {_load_of_machine()}", flush=True)


async def _tell(bench: Bench, per_second: float) -> load.Tally:
    """Latencies count from the moment at which a push is due to that at which its change has come."""
    tally, due_at = load.Tally(), dict[str, float]()
    pushed, all_have_come = asyncio.Event(), asyncio.Event()

    def have_come(keys: list[str]) -> None:
        now = time.perf_counter()
        tally.latencies_ms.extend((now - due_at.pop(key)) * 1_000 for key in keys if key in due_at)
        if pushed.is_set() and not due_at:
            all_have_come.set()

    async def pushing(device: Device, moments: Iterable[float]) -> None:
        connection = await load.connect(bench.server.port)
        for moment in moments:
            await asyncio.sleep(max(0.0, moment - time.perf_counter()))
            request, key = device.push()
            due_at.setdefault(key, moment)
            device.take(await connection.send(request))
        connection.close()

    doors = [asyncio.Event() for _ in bench.listeners]
    listening = [
        asyncio.create_task(listen(bench.server, device, have_come, door))
        for device, door in zip(bench.listeners, doors, strict=True)
    ]
    await asyncio.gather(*(door.wait() for door in doors))
    started, count = time.perf_counter() + 0.1, len(bench.devices)
    moments = [started + number / per_second for number in range(int(per_second * HALF_LOAD_SECONDS))]
    await asyncio.gather(
        *(pushing(device, moments[number::count]) for number, device in enumerate(bench.devices))
    )
    pushed.set()
    have_come([])
    with suppress(TimeoutError):
        await asyncio.wait_for(all_have_come.wait(), ARRIVAL_SECONDS_MAX)
    for task in listening:
        task.cancel()
    ended = await asyncio.gather(*listening, return_exceptions=True)
    if due_at:
        failed = [each for each in ended if not isinstance(each, asyncio.CancelledError)]
        raise SystemExit(f"{len(due_at)} changes have not come: {failed[:3]}")
    return tally


def _first_syncs(bench: Bench, runs: int) -> None:
    """The whole of READ objects for a device that has nothing yet, to the last byte; one at a time."""
    taken, cpu, size = [], [], 0
    for _ in range(runs + 1):
        before, started = bench.cpu(), time.perf_counter()
        body = uvloop.run(bench.reader.first_pull())
        taken.append(time.perf_counter() - started)
        cpu.append(sum(bench.cpu()) - sum(before))
        size = len(body)
        if len(bench.reader.told(body).keys()) < READ:
            raise SystemExit(f"a first sync has less than {READ} objects: {body[:600]!r}")
    print(
        f"first sync of {READ:,} objects, {size / 1e6:.1f} MB: {statistics.median(taken[1:]):.2f} s "
        f"({min(taken[1:]):.2f}–{max(taken[1:]):.2f}), {statistics.median(cpu[1:]):.2f} s of CPU; "
        f"{_load_of_machine()}",
        flush=True,
    )


def _print(title: str, runs: Sequence[Run]) -> None:
    rate, p50, p99, server_ms, database_ms = (
        statistics.median(getattr(each, field.name) for each in runs) for field in fields(Run)
    )
    rates = [each.per_second for each in runs]
    print(
        f"{title:<16}{rate:>8.0f}/s ({min(rates):.0f}–{max(rates):.0f})   "
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms   "
        f"server {server_ms:.3f} ms, database {database_ms:.3f} ms of CPU each",
        flush=True,
    )


def _load_of_machine() -> str:
    return f"load of the machine {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
