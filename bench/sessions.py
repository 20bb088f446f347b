"""What the number of stored sessions costs: the Sessions API, and refreshes with their look at the session.

    uv run python -m bench.sessions [--sessions 10000,1000000] [--databases sqlite,postgresql] [--runs 5]

Prints, per database and number of sessions, for each question that is asked one at a time: the medians of p50
and p99 over all runs, the spread of p99, and CPU of server and database per request; then CPU and rate of
refreshes at 64 at once, and what of it is the rule that decides whether a session goes on. Ten million
sessions, of two million people, need 15 GB of disk on SQLite, 20 GB on PostgreSQL.
"""

import argparse
import base64
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import uvloop

from admit.accounts.session_pages import cursor_at
from admit.accounts.session_standing import end_of
from admit.accounts.sessions import Session
from admit.accounts.users import new_user
from bench import enrollments, load, machine, people, servers, users
from bench.enrollments import FIRST_MOMENT, HEAVY, HEAVY_SESSIONS, SESSIONS_EACH

ASKED = 300
RULE_CALLS = 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sessions", default="10000,1000000")
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for database in options.databases.split(","):
        for count in map(int, options.sessions.split(",")):
            _bench(database, count, options.runs)


def _bench(database: str, count: int, runs: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="admit-bench-")))
        hook_port = stack.enter_context(servers.receiver())
        url, database_pid = f"sqlite:///{folder}/admit.db", 0
        if database == "postgresql":
            url, database_pid = stack.enter_context(servers.postgres(folder))

        def move_in(database_url: str, app: str) -> None:
            crowd = enrollments.people_for(count)
            seconds = people.fill(database_url, app, crowd) + enrollments.fill(database_url, app, count)
            print(
                f"\n{database}, {count:,} sessions of {crowd:,} people, written in {seconds:.0f} s",
                flush=True,
            )

        server = stack.enter_context(servers.admit_server(folder, url, hook_port, before_serving=move_in))
        for title, requests in _questions(server, count):
            uvloop.run(load.answers(server.port, requests[:20], concurrency=1))
            _print_question(title, [_ask(server, database_pid, requests) for _ in range(runs)])
        tokens = users.refresh_tokens(server, enrollments.people_for(count))
        refreshes = [
            users.run(server, database_pid, users.refreshes(server, tokens), b'"type":"tokens"')
            for _ in range(runs)
        ]
        users.print_load("refresh", refreshes)
        rule_us = statistics.median(_rule_us() for _ in range(runs))
        share = rule_us / 1_000 / statistics.median(each[1] for each in refreshes)
        print(f"of which, whether the session goes on: {rule_us:.2f} µs, {share:.2%} of the server's CPU")
        print(f"memory at its peak: {machine.peak_memory_mb(server.pid):.0f} MB")


class _Asked(msgspec.Struct, frozen=True):
    """p50 and p99 in ms, CPU ms of server and database per request."""

    p50: float
    p99: float
    server_ms: float
    database_ms: float


def _ask(server: servers.Server, database_pid: int, requests: Sequence[bytes]) -> _Asked:
    before = machine.cpu_seconds(server.pid), machine.cpu_seconds(database_pid) if database_pid else 0.0
    tally = uvloop.run(load.closed_loop(server.port, iter(requests), b" 200 OK", concurrency=1))
    if tally.failures:
        raise SystemExit(f"{tally.failures} requests failed, such as: {tally.sample_failure!r}")
    after = machine.cpu_seconds(server.pid), machine.cpu_seconds(database_pid) if database_pid else 0.0
    cpu = [(then - now) * 1000 / len(requests) for now, then in zip(before, after, strict=True)]
    return _Asked(tally.percentile(0.5), tally.percentile(0.99), *cpu)


def _print_question(title: str, runs: Sequence[_Asked]) -> None:
    p50, p99, server_ms, database_ms = (
        statistics.median(getattr(each, name) for each in runs) for name in _Asked.__struct_fields__
    )
    slowest = [each.p99 for each in runs]
    print(
        f"{title:<48}{p50:>7.2f} ms p50 {p99:>7.2f} ms p99 ({min(slowest):.2f}–{max(slowest):.2f})   "
        f"server {server_ms:.2f} ms, database {database_ms:.2f} ms of CPU each",
        flush=True,
    )


def _questions(server: servers.Server, count: int) -> Iterator[tuple[str, list[bytes]]]:
    dice = random.Random(count)
    crowd = enrollments.people_for(count)
    credential = base64.b64encode(f"{server.client_id}:{server.client_secret}".encode()).decode()

    def ask(path: str) -> bytes:
        return (
            f"GET /api/v4/{server.app}/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"authorization: Basic {credential}\r\n\r\n"
        ).encode()

    def somebody() -> str:
        return f"users/person{dice.randint(2, crowd):09d}@example.com"

    def behind(number: int) -> str:
        return cursor_at(FIRST_MOMENT + number * 1000, f"person{number:09d}@example.com")

    def session(number: int) -> str:
        person = (number - 1) // SESSIONS_EACH + 1
        return f"users/usr_{person:09d}/sessions/ses_{number:09d}"

    heavy = f"users/usr_{HEAVY:09d}"
    middle = count + HEAVY_SESSIONS // 2
    within = cursor_at(FIRST_MOMENT + middle * 1000, f"ses_{middle:09d}")
    questions: dict[str, Callable[[], str]] = {
        f"sessions of a user ({SESSIONS_EACH})": lambda: f"{somebody()}/sessions",
        "sessions of a user, active=true": lambda: f"{somebody()}/sessions?active=true",
        "sessions of a user on a device": lambda: f"{somebody()}/sessions?device=device000000001",
        "one session": lambda: session(dice.randint(1, count)),
        "a user with their sessions": somebody,
        f"100 sessions of a user with {HEAVY_SESSIONS:,}": lambda: f"{heavy}/sessions",
        "the same, behind a cursor": lambda: f"{heavy}/sessions?after={within}",
        "the same, state=ENROLLED": lambda: f"{heavy}/sessions?state=ENROLLED",
        "sessions on a device": lambda: f"sessions?device=device{dice.randint(1, count):09d}",
        "100 users with their sessions": lambda: f"users?after={behind(dice.randint(1, crowd))}",
        "the first 100 users": lambda: "users",
        "100 users behind skip=10000": lambda: "users?skip=10000",
        "locked users": lambda: "users?locked=true",
        "users with a device": lambda: f"users?device=device{dice.randint(1, count):09d}",
    }
    for title, path in questions.items():
        yield title, [ask(path()) for _ in range(ASKED)]


def _rule_us() -> float:
    """What it takes to decide that a session goes on, in µs."""
    now = FIRST_MOMENT
    user = new_user(
        app_id="app", user_id="u", email="", email_verified=False, name="", type="prod", data=None,
        eval_days=30, way_in="email_code", now=now,
    )  # fmt: skip
    session = Session(
        app_id="app", session_id="ses", uid=user.uid, device_id="d", ordinal=1, state="ENROLLED", reason="",
        public_key="", key_thumbprint="", client_id=None, actor=None, scopes="", created_at=now,
        authenticated_at=now, signed_out_at=None, refresh_until=now * 2, newest_stamp=0, connected_at=now,
        wiped_at=None,
    )  # fmt: skip
    started = time.perf_counter()
    for _ in range(RULE_CALLS):
        end_of(session, user, now=now, idle_days=30)
    return (time.perf_counter() - started) / RULE_CALLS * 1e6


if __name__ == "__main__":
    main()
