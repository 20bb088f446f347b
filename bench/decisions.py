"""What a task that decides adds to a first login, beside policy eval in the same run.

    uv run python -m bench.decisions [--logins 500] [--rounds 5] [--databases sqlite,postgresql]

Prints, per database and concurrency: p50 and p99 of first logins under policy eval and under policy task, and
what the task adds at p50. The two take turns, so that both meet the same machine; the process of the task is
warm. The load runs in this process and on the same cores.
"""

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import uvloop

from bench import first_login, load, machine, servers

CONCURRENCIES = (1, 16)
WARM_UP = 100
TASK = """
from admit import task


@task.decides
def decide(context):
    if context.email.endswith("@example.com"):
        return task.admit("prod", data={"plan": "team"})
    return task.refuse("NOT_ON_THE_LIST", "You are not on the list.")
"""
POLICIES = {"task": ("task", "decide"), "eval": ("eval",)}
"""Apps of their own, so that nothing is to be switched between turns."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--logins", type=int, default=500, help="first logins per turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    keys = [first_login.public_key() for _ in range(first_login.KEYS)]
    for database in options.databases.split(","):
        _bench(database, keys, logins=options.logins, rounds=options.rounds)


def _bench(database: str, keys: list[str], *, logins: int, rounds: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="admit-bench-")))
        (folder / "tasks" / "task").mkdir(parents=True)
        (folder / "tasks" / "task" / "door.py").write_text(TASK)
        url = f"sqlite:///{folder}/admit.db"
        if database == "postgresql":
            url, _pid = stack.enter_context(servers.postgres(folder))
        server = stack.enter_context(servers.admit_server(folder, url, 9, tasks=str(folder / "tasks")))
        doors = {name: _door(server, name, policy) for name, policy in POLICIES.items()}
        print(f"\n{database}: {logins} first logins a turn, {rounds} rounds")
        print("at once   eval p50   p99 ms   task p50   p99 ms   added at p50 (min–max of rounds)")
        for door in doors.values():
            _turn(door, keys, WARM_UP, 16)
        for concurrency in CONCURRENCIES:
            _compare(doors, keys, logins, rounds, concurrency)
        print(f"fsync of 8 kB: {machine.fsyncs_per_second(folder):.0f}/s")


def _door(server: servers.Server, app: str, policy: tuple[str, ...]) -> servers.Server:
    """The server with an app that has this policy."""
    server.command("app", "create", app, "--owner", "owner@example.com")
    server.command("task", "reload")
    server.command("policy", "set", app, *policy)
    client = server.command("client", "create", app, "--scopes", "ACCESS_DB,IMPERSONATE")
    return replace(server, app=app, client_id=client["client_id"], client_secret=client["client_secret"])


def _compare(
    doors: dict[str, servers.Server], keys: list[str], logins: int, rounds: int, concurrency: int
) -> None:
    turns = [
        {name: _turn(door, keys, logins, concurrency) for name, door in doors.items()} for _ in range(rounds)
    ]

    def middle(name: str, share: float) -> float:
        return statistics.median(each[name].percentile(share) for each in turns)

    added = [each["task"].percentile(0.5) - each["eval"].percentile(0.5) for each in turns]
    print(
        f"{concurrency:>7}   {middle('eval', 0.5):>8.2f} {middle('eval', 0.99):>8.2f}"
        f"   {middle('task', 0.5):>8.2f} {middle('task', 0.99):>8.2f}"
        f"   {statistics.median(added):>8.2f} ({min(added):.2f}–{max(added):.2f})",
        flush=True,
    )


def _turn(server: servers.Server, keys: list[str], logins: int, concurrency: int) -> load.Tally:
    requests = first_login.first_logins(server, keys, logins)
    tally = uvloop.run(load.closed_loop(server.port, requests, first_login.TOKENS, concurrency=concurrency))
    if tally.failures:
        raise SystemExit(f"{tally.failures} logins failed, such as: {tally.sample_failure!r}")
    return tally


if __name__ == "__main__":
    main()
