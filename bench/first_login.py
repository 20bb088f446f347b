"""First logins through POST /token, with the decision hook on a local receiver called for each.

    uv run python -m bench.first_login [--logins 4000] [--runs 5] [--databases sqlite,postgresql]

Prints, per database and concurrency: logins/s (median, spread), p50 and p99, CPU of server and database per
login, memory; the fsync rate and the raw limit of the same run; then p99 at half load beside the hook's own
p99. The load runs in this process and on the same cores.
"""

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench import bare, load, machine, servers

CONCURRENCIES = (1, 16, 64)
KEYS = 16
TOKENS = b'"type":"tokens"'

_people = itertools.count(1)


@dataclass(frozen=True)
class Run:
    """One run at one concurrency."""

    per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    database_cpu_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--logins", type=int, default=4000, help="first logins per run at 16 and 64 at once")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    keys = [public_key() for _ in range(KEYS)]
    for database in options.databases.split(","):
        _bench(database, keys, logins=options.logins, runs=options.runs)


def _bench(database: str, keys: list[str], *, logins: int, runs: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="admit-bench-")))
        hook_port = stack.enter_context(servers.receiver())
        url, database_pid = f"sqlite:///{folder}/admit.db", 0
        if database == "postgresql":
            url, database_pid = stack.enter_context(servers.postgres(folder))
        server = stack.enter_context(servers.admit_server(folder, url, hook_port))
        before = machine.fsyncs_per_second(folder)
        print(f"\n{database}: {logins} first logins a run, {runs} runs, hook called for each")
        print("at once   logins/s (min–max)         p50 ms   p99 ms   server CPU ms   database CPU ms")
        uvloop.run(_load(server, first_logins(server, keys, 500), 16, database_pid))
        best = 0.0
        for concurrency in CONCURRENCIES:
            count = logins if concurrency > 1 else logins // 8
            results = [
                uvloop.run(_load(server, first_logins(server, keys, count), concurrency, database_pid))
                for _ in range(runs)
            ]
            _print_row(concurrency, results)
            best = max(best, statistics.median(each.per_second for each in results))
        _raw_limit(hook_port, logins=logins, runs=runs)
        _half_load(server, keys, hook_port, best / 2)
        after = machine.fsyncs_per_second(folder)
        print(f"memory at its peak: {machine.peak_memory_mb(server.pid):.0f} MB")
        print(f"fsync of 8 kB: {before:.0f}/s before, {after:.0f}/s after")


async def _load(
    server: servers.Server, requests: Iterator[bytes], concurrency: int, database_pid: int
) -> Run:
    server_before = machine.cpu_seconds(server.pid)
    database_before = machine.cpu_seconds(database_pid) if database_pid else 0.0
    tally = await load.closed_loop(server.port, requests, TOKENS, concurrency=concurrency)
    done = len(tally.latencies_ms)
    if tally.failures:
        raise SystemExit(f"{tally.failures} logins failed, such as: {tally.sample_failure!r}")
    server_cpu = machine.cpu_seconds(server.pid) - server_before
    database_cpu = (machine.cpu_seconds(database_pid) - database_before) if database_pid else 0.0
    return Run(
        per_second=tally.per_second,
        p50_ms=tally.percentile(0.5),
        p99_ms=tally.percentile(0.99),
        server_cpu_ms=server_cpu / done * 1000,
        database_cpu_ms=database_cpu / done * 1000,
    )


def _print_row(concurrency: int, runs: list[Run]) -> None:
    rates = [each.per_second for each in runs]
    print(
        f"{concurrency:>7}   {statistics.median(rates):>8.0f} ({min(rates):.0f}–{max(rates):.0f})"
        f"{'':>8}{statistics.median(each.p50_ms for each in runs):>8.1f}"
        f" {statistics.median(each.p99_ms for each in runs):>8.1f}"
        f" {statistics.median(each.server_cpu_ms for each in runs):>15.3f}"
        f" {statistics.median(each.database_cpu_ms for each in runs):>17.3f}",
        flush=True,
    )


def _raw_limit(hook_port: int, *, logins: int, runs: int) -> None:
    """What is left when nothing is remembered or signed: the hook is asked, and its answer passed on."""
    request = load.post("/", b'{"sub":"someone@example.com"}')
    with servers.bare_server(hook_port) as (pid, port):
        rates, cpu_ms = [], []
        for _ in range(runs + 1):
            before = machine.cpu_seconds(pid)
            requests = itertools.repeat(request, logins)
            tally = uvloop.run(load.closed_loop(port, requests, bare.ANSWER, concurrency=64))
            if tally.failures:
                raise SystemExit(f"the bare server failed: {tally.sample_failure!r}")
            rates.append(tally.per_second)
            cpu_ms.append((machine.cpu_seconds(pid) - before) / logins * 1000)
    print(
        f"raw limit, a server that only asks the hook: {statistics.median(rates[1:]):.0f}/s at 64 at once, "
        f"{statistics.median(cpu_ms[1:]):.3f} ms of CPU",
        flush=True,
    )


def _half_load(server: servers.Server, keys: list[str], hook_port: int, per_second: float) -> None:
    count = int(per_second * 5)
    ask = load.post("/decide", b'{"userId":"someone@example.com","email":"someone@example.com"}')
    own = uvloop.run(
        load.open_loop(hook_port, itertools.repeat(ask, count), b'"ok":true', per_second=per_second)
    )
    tally = uvloop.run(
        load.open_loop(server.port, first_logins(server, keys, count), TOKENS, per_second=per_second)
    )
    print(
        f"half load ({per_second:.0f}/s, open loop): login p50 {tally.percentile(0.5):.1f} ms, "
        f"p99 {tally.percentile(0.99):.1f} ms; the hook's own p99 {own.percentile(0.99):.1f} ms; "
        f"failures {tally.failures}"
    )


def first_logins(server: servers.Server, keys: list[str], count: int) -> Iterator[bytes]:
    """Requests of `count` people whom nobody has seen before, each with one of a few device keys."""
    requests = []
    for _ in range(count):
        number = next(_people)
        body = {
            "grant_type": "client_credentials",
            "client_id": server.client_id,
            "client_secret": server.client_secret,
            "scopes": ["ACCESS_DB"],
            "public_key": keys[number % len(keys)],
            "claims": {
                "sub": f"person{number}@example.com",
                "email": f"person{number}@example.com",
                "name": f"Person {number}",
            },
        }
        requests.append(load.post(f"/{server.app}/token", json.dumps(body).encode()))
    return iter(requests)


def public_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().strip()


if __name__ == "__main__":
    main()
