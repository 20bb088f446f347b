"""What the deliveries bench runs in processes of their own: it fills a log, delivers it, or only posts.

    python -m bench.courier fill DATABASE_URL EVENTS PORT…
    python -m bench.courier retries DATABASE_URL RETRIES PORT
    python -m bench.courier deliver DATABASE_URL
    python -m bench.courier post PORT… (as many as fit at once, as often as standard input says)

`deliver` opens the rooms of a server without its HTTP doors, and reads lines from its standard input: "pace
PER_SECOND SECONDS" records events at that rate, "stop" ends it. Each line is answered when it is done.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

import aiohttp
import msgspec
import uvloop
from msgspec.structs import replace
from sqlalchemy import insert

from admit import clock
from admit.accounts import apps
from admit.accounts.apps import App, NameTaken
from admit.config import Settings
from admit.events import log
from admit.events.catalog import UserEnrolled
from admit.events.examples import EXAMPLES
from admit.events.log import Event
from admit.gateway import Gateway
from admit.jobs.tables import jobs
from admit.outbound import signing
from admit.storage.transaction import Transaction
from admit.web.logs import configure_logs_for_good
from admit.web.server import tune_the_interpreter
from admit.webhooks import endpoints
from admit.webhooks.endpoint_settings import SettingsChange

PIECE = 200
WAITING_PIECE = 2_000
AT_ONCE = 32
PADDING = msgspec.Raw(b'{"notes":"%b"}' % (b"x" * 380))
"""Makes the body of a delivery 1 kB."""


def settings_of(url: str) -> Settings:
    """The settings of a server on loopback."""
    return Settings.load(
        {},
        {
            "database_url": url,
            "secret_key": "bench-key-" * 6,
            "egress_allow": "127.0.0.1",
            "log_level": "warning",
        },
    )


async def fill(url: str, events: int, ports: Sequence[int]) -> None:
    """Makes an app with an endpoint a port, and records `events`, which nobody delivers yet."""
    gateway = await Gateway.open(settings_of(url), serve_address=None)
    made = await gateway.db.write(
        lambda tx: apps.create_app(
            tx, gateway.ring, name="bench", owner="owner@example.com", user_ids="email", now=clock.now()
        )
    )
    assert not isinstance(made, NameTaken)
    for port in ports:
        wanted = SettingsChange(url=f"http://127.0.0.1:{port}/hook", events=("user.enrolled",), format="full")
        secret = signing.new_secret()
        await gateway.db.write(
            partial(
                endpoints.create,
                ring=gateway.ring,
                app_id=made.app_id,
                new=wanted,
                secret=secret,
                now=clock.now(),
            )
        )
    for _ in range(0, events, PIECE):
        await gateway.db.write(partial(_record, app_id=made.app_id, count=PIECE))
    await gateway.close()


async def deliver(url: str) -> None:
    """Delivers what there is, and what standard input asks to be recorded."""
    gateway = await Gateway.open(settings_of(url), serve_address="http://127.0.0.1:1")
    app = await gateway.directory.app("bench")
    tune_the_interpreter()
    print("ready", flush=True)
    while (line := await asyncio.to_thread(sys.stdin.readline)).strip() not in ("", "stop"):
        _, per_second, seconds = line.split()
        await _pace(gateway, app, float(per_second), float(seconds))
        print("done", flush=True)
    await gateway.close()


async def _pace(gateway: Gateway, app: App, per_second: float, seconds: float) -> None:
    """Records single events at a rate, each in a unit of its own."""
    started, pending = time.perf_counter(), set()
    for number in range(int(per_second * seconds)):
        if (early := started + number / per_second - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(gateway.db.write(partial(_record, app_id=app.app_id, count=1)))
        pending.add(task)
        task.add_done_callback(pending.discard)
    if pending:
        await asyncio.wait(pending)


async def wait(url: str, retries: int, port: int) -> None:
    """Leaves retries that are due in hours to the endpoint at `port`."""
    gateway = await Gateway.open(settings_of(url), serve_address=None)
    app = await gateway.directory.app("bench")
    await gateway.db.write(partial(_record, app_id=app.app_id, count=1))
    listed = await gateway.db.read(
        partial(endpoints.page, ring=gateway.ring, app_id=app.app_id, after="", limit=100)
    )
    (lane,) = (each.endpoint_id for each in listed if each.url.endswith(f":{port}/hook"))
    for _ in range(0, retries, WAITING_PIECE):
        await gateway.db.write(partial(_leave, app_id=app.app_id, lane=lane))
    await gateway.close()


def _leave(tx: Transaction, app_id: str, lane: str) -> None:
    now = clock.now()
    common = {"app_id": app_id, "kind": "delivery", "lane": lane, "turn": 1, "sequence": 1, "payload": ""}
    tried = {"again": 1, "attempts": 3, "earlier": 0, "fence": 3, "tried_at": now, "out_of_order": "no"}
    rest = {"state": "waiting", "detail": "", "created_at": now, "due_at": now + 6 * clock.HOUR_MS}
    rows = [
        common | tried | rest | {"job_id": clock.new_id("dlv"), "subject": clock.new_id("usr")}
        for _ in range(WAITING_PIECE)
    ]
    tx.execute(insert(jobs), rows)


def _record(tx: Transaction, app_id: str, count: int) -> None:
    example = EXAMPLES["user.enrolled"]
    assert isinstance(example, UserEnrolled)
    for _ in range(count):
        uid = clock.new_id("usr")
        data = replace(example, user=replace(example.user, uid=uid, data=PADDING))
        log.record(tx, Event(app_id=app_id, uid=uid, occurred_at=clock.now(), data=data))


async def post(ports: Sequence[int]) -> None:
    """The raw client: it posts 1 kB, AT_ONCE to each port, and does nothing else."""
    body = b'{"type":"user.enrolled","data":"%b"}' % (b"x" * 960)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": "evt_a47f3b9c0e5d7781b2f3c9a6d4e8f0a1b2c3d4",
        "webhook-timestamp": "1795337113",
        "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    }
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        tune_the_interpreter()
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            left = iter(range(int(line)))

            async def one_after_another(url: str, left: Iterator[int] = left) -> None:
                for _ in left:
                    async with session.post(url, data=body, headers=headers) as answer:
                        await answer.read()

            urls = [f"http://127.0.0.1:{port}/hook" for port in ports]
            each = max(1, AT_ONCE // len(ports))
            await asyncio.gather(*(one_after_another(url) for url in urls for _ in range(each)))
            print("done", flush=True)


if __name__ == "__main__":
    configure_logs_for_good(settings_of("sqlite:///unused.db"))
    match sys.argv[1:]:
        case ["fill", url, events, *ports]:
            uvloop.run(fill(url, int(events), [int(port) for port in ports]))
        case ["retries", url, retries, port]:
            uvloop.run(wait(url, int(retries), int(port)))
        case ["deliver", url]:
            uvloop.run(deliver(url))
        case ["post", *ports]:
            uvloop.run(post([int(port) for port in ports]))
        case _:
            raise SystemExit(__doc__)
