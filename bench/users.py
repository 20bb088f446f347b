"""What the number of people in an app costs: first login, refresh, pages of the list, and search.

    uv run python -m bench.users [--people 10000,1000000] [--databases sqlite,postgresql] [--runs 5]

Prints, per database and number of people: CPU of server and database per first login and per refresh, the
rate at 64 at once, and p50 and p99 of pages in every order and of searches, one at a time. Ten million people
need 12 GB of disk on SQLite, 25 GB on PostgreSQL, and a quarter of an hour each to be written.
"""

import argparse
import base64
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import uvloop
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from admit.accounts.paging_keys import Position, write_key
from bench import load, machine, people, servers
from bench.people import FIRST_NAMES, LAST_NAMES

AT_ONCE = 64
SESSIONS = 512
REFRESHES_PER_SESSION = 6
PAGES = 300
SORTS = ("userId", "created", "updated", "lastLogin", "validUntil", "evalDaysLeft", "type", "displayName")

_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_pem = _key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().strip()
_newcomers = itertools.count(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--people", default="10000,1000000")
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for database in options.databases.split(","):
        for count in map(int, options.people.split(",")):
            _bench(database, count, options.runs)


def _bench(database: str, count: int, runs: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="admit-bench-")))
        hook_port = stack.enter_context(servers.receiver())
        url, database_pid = f"sqlite:///{folder}/admit.db", 0
        if database == "postgresql":
            url, database_pid = stack.enter_context(servers.postgres(folder))

        def move_in(database_url: str, app: str) -> None:
            seconds = people.fill(database_url, app, count)
            print(f"\n{database}, {count:,} people, written in {seconds:.0f} s", flush=True)

        server = stack.enter_context(servers.admit_server(folder, url, hook_port, before_serving=move_in))
        uvloop.run(load.closed_loop(server.port, _logins(server, 500), b'"type":"tokens"', concurrency=16))
        first = [run(server, database_pid, _logins(server, 2_000), b'"type":"tokens"') for _ in range(runs)]
        print_load("first login", first)
        tokens = refresh_tokens(server, count)
        again = [
            run(server, database_pid, refreshes(server, tokens), b'"type":"tokens"') for _ in range(runs)
        ]
        print_load("refresh", again)
        reader = _reader(server)
        for title, requests in _questions(server, reader, count):
            tally = uvloop.run(load.closed_loop(server.port, iter(requests), b'"data":[', concurrency=1))
            if tally.failures:
                raise SystemExit(f"{title}: {tally.failures} failed, such as: {tally.sample_failure!r}")
            p50, p99 = tally.percentile(0.5), tally.percentile(0.99)
            print(f"{title:<44}{p50:>8.1f} ms p50 {p99:>8.1f} ms p99", flush=True)
        print(f"memory at its peak: {machine.peak_memory_mb(server.pid):.0f} MB")


class Load(tuple[float, float, float]):
    """Per second, CPU ms of the server, CPU ms of the database, each per request."""


def run(server: servers.Server, database_pid: int, requests: Iterator[bytes], wanted: bytes) -> Load:
    before = machine.cpu_seconds(server.pid), machine.cpu_seconds(database_pid) if database_pid else 0.0
    tally = uvloop.run(load.closed_loop(server.port, requests, wanted, concurrency=AT_ONCE))
    if tally.failures:
        raise SystemExit(f"{tally.failures} requests failed, such as: {tally.sample_failure!r}")
    done = len(tally.latencies_ms)
    after = machine.cpu_seconds(server.pid), machine.cpu_seconds(database_pid) if database_pid else 0.0
    return Load(
        (tally.per_second, *((then - now) / done * 1000 for now, then in zip(before, after, strict=True)))
    )


def print_load(title: str, runs: Sequence[Load]) -> None:
    rate, server_ms, database_ms = (statistics.median(each) for each in zip(*runs, strict=True))
    rates = [each[0] for each in runs]
    print(
        f"{title:<16}{rate:>8.0f}/s ({min(rates):.0f}–{max(rates):.0f})   server {server_ms:.3f} ms, "
        f"database {database_ms:.3f} ms of CPU each",
        flush=True,
    )


def _logins(server: servers.Server, count: int) -> Iterator[bytes]:
    """Requests of people whom nobody has seen before."""
    return iter([_login(server, f"newcomer{next(_newcomers)}@example.com") for _ in range(count)])


def _login(server: servers.Server, sub: str) -> bytes:
    body = {
        "grant_type": "client_credentials",
        "client_id": server.client_id,
        "client_secret": server.client_secret,
        "scopes": ["ACCESS_DB"],
        "public_key": _pem,
        "claims": {"sub": sub, "email": sub, "name": "New Comer"},
    }
    return load.post(f"/{server.app}/token", json.dumps(body).encode())


def refresh_tokens(server: servers.Server, count: int) -> list[str]:
    """Refresh tokens of different people, who lived here before, `count` of them."""
    last = min(count, SESSIONS)
    chosen = [_login(server, f"person{number:09d}@example.com") for number in range(1, last + 1)]
    bodies = uvloop.run(load.answers(server.port, chosen, concurrency=16))
    return [json.loads(body)["refreshToken"] for body in bodies]


def refreshes(server: servers.Server, tokens: Sequence[str]) -> Iterator[bytes]:
    """Signed refreshes, a few per session and each newer than the last."""
    now = time.time_ns() // 1_000_000
    requests = [
        _refresh(server, token, now + step) for step in range(REFRESHES_PER_SESSION) for token in tokens
    ]
    return iter(requests)


def _refresh(server: servers.Server, token: str, time_stamp: int) -> bytes:
    signature = _key.sign(f"{token}{time_stamp}".encode(), padding.PKCS1v15(), SHA256())
    body = {
        "grant_type": "refresh_token",
        "refresh_token": token,
        "scopes": ["ACCESS_DB"],
        "time_stamp": time_stamp,
        "signing_algorithm": "RSASSA-PKCS1-v1_5",
        "signature": base64.b64encode(signature).decode(),
    }
    return load.post(f"/{server.app}/token", json.dumps(body).encode())


def _reader(server: servers.Server) -> str:
    """An access token of the app's own backend, which may read all of its users."""
    body = {
        "grant_type": "client_credentials",
        "client_id": server.client_id,
        "client_secret": server.client_secret,
        "scopes": ["ACCESS_DB", "GLOBAL_READ"],
    }
    request = load.post(f"/{server.app}/token", json.dumps(body).encode())
    (answer,) = uvloop.run(load.answers(server.port, [request], concurrency=1))
    token: str = json.loads(answer)["accessToken"]
    return token


def _questions(server: servers.Server, token: str, count: int) -> Iterator[tuple[str, list[bytes]]]:
    dice = random.Random(count)

    def ask(query: str) -> bytes:
        return load.get(f"/{server.app}/users?{query}", token)

    def behind_somebody(sort: str) -> str:
        return f"sort={sort}&pagingKey={quote(_place(sort, dice.randint(1, count)))}"

    for sort in SORTS:
        yield f"page of 100 by {sort}", [ask(f"limit=100&{behind_somebody(sort)}") for _ in range(PAGES)]
        downwards = [ask(f"limit=100&desc=true&{behind_somebody(sort)}") for _ in range(PAGES // 3)]
        yield f"page of 100 by {sort}, downwards", downwards
    yield "page of 1000 by userId", [ask(behind_somebody("userId")) for _ in range(PAGES // 10)]
    for some in ("type=prod", "type=demo", "active=true", "active=false", "type=eval&active=true"):
        yield f"page of 100, {some}", [ask(f"limit=100&{some}")] * (PAGES // 3)
    searches: dict[str, Callable[[], str]] = {
        "one person": lambda: f"person{dice.randint(1, count):09d}",
        "a first name": lambda: dice.choice(FIRST_NAMES),
        "a full name": lambda: f"{dice.choice(FIRST_NAMES)}+{dice.choice(LAST_NAMES)}",
        "one letter": lambda: dice.choice("abcdefghijklmnopqrstuvwxyz"),
        "nobody": lambda: f"nobody{dice.randint(1, count)}",
    }
    for title, words in searches.items():
        yield f"search for {title}", [ask(f"limit=100&search={words()}") for _ in range(PAGES)]


def _place(sort: str, number: int) -> str:
    """The paging key of the person with that number, in that order. Mirrors `bench.people`."""
    moment = 1_790_000_000_000 + number * 1000
    values: dict[str, int | str] = {
        "created": moment,
        "updated": moment,
        "lastLogin": moment,
        "validUntil": 2**53 - 1,
        "evalDaysLeft": number % 30,
        "type": "prod" if number % 3 == 0 else "eval",
        "displayName": f"{FIRST_NAMES[number % len(FIRST_NAMES)]} {LAST_NAMES[number % len(LAST_NAMES)]}",
    }
    user_id = f"person{number:09d}@example.com"
    return write_key(Position(values.get(sort, user_id), user_id))


if __name__ == "__main__":
    main()
