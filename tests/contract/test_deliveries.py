"""Deliveries: what happens in the app arrives at the operator's endpoints, whatever they do to it."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select
from standardwebhooks import Webhook

from admit.accounts import user_deletion
from admit.accounts.apps import App
from admit.errors import StorageUnavailable
from admit.events import log
from admit.jobs import attempts
from admit.jobs.pace import FAILURES_TO_REST
from admit.jobs.tables import jobs
from admit.outbound import signing
from admit.webhooks import delivery, endpoint_states, endpoints, health
from admit.webhooks.book import Book
from admit.webhooks.endpoint_settings import SettingsChange
from admit.webhooks.endpoints import Endpoint
from tests import receivers
from tests.contract.served import Hands, Served, serving
from tests.receiver import Receiver, always, in_turn, receiving

SECRET = signing.new_secret()
OK = always(200)


@dataclass
class Desk:
    """A served app with what a test of deliveries does most."""

    served: Served
    app: App

    async def endpoint(self, url: str, **settings: Any) -> str:
        """Makes an endpoint and returns its id."""
        made = SettingsChange(url=url, **({"events": ("user.enrolled", "user.updated")} | settings))
        served = self.served
        return await served.gateway.db.write(
            lambda tx: endpoints.create(
                tx, served.gateway.ring, self.app.app_id, made, SECRET, served.hands()
            )
        )

    async def enroll(self, *people: str) -> None:
        await self.served.write(self.app, *({"userId": person, "type": "prod"} for person in people))

    async def rename(self, person: str, name: str) -> None:
        await self.served.write(self.app, {"userId": person, "data": {"nick": name}})

    async def rows(self) -> list[Any]:
        wanted = select(jobs).where(jobs.c.kind == "delivery").order_by(jobs.c.sequence, jobs.c.lane)
        return await self.served.gateway.db.read(lambda tx: list(tx.execute(wanted)))

    async def until(self, condition: Callable[[list[Any]], bool], seconds: float = 15) -> list[Any]:
        """The deliveries once `condition` holds."""
        give_up_at = time.monotonic() + seconds
        while not condition(rows := await self.rows()):
            assert time.monotonic() < give_up_at, [(row.state, row.detail, row.attempts) for row in rows]
            await asyncio.sleep(0.02)
        return rows

    async def settled(self, count: int = 1) -> list[Any]:
        """The deliveries once `count` of them have ended."""
        return await self.until(lambda rows: sum(row.finished_at is not None for row in rows) >= count)

    async def failed_once(self) -> Any:
        """The one delivery once its first attempt has failed."""
        [row] = await self.until(
            lambda rows: bool(rows) and rows[0].state in ("waiting", "dead") and rows[0].tried_at > 0
        )
        return row

    async def attempts_of(self, row: Any) -> list[attempts.Attempt]:
        return await self.served.gateway.db.read(
            partial(attempts.of_job, app_id=self.app.app_id, job_id=row.job_id)
        )

    async def types(self) -> list[str]:
        """The types of the events in the log."""
        events = await self.served.gateway.db.read(
            partial(log.after, app_id=self.app.app_id, position=0, limit=1_000)
        )
        return [event.type for event in events]

    async def state(self, endpoint_id: str) -> Endpoint:
        found = await self.served.gateway.db.read(
            lambda tx: endpoints.find(tx, self.served.gateway.ring, self.app.app_id, endpoint_id)
        )
        assert found is not None
        return found


@pytest.fixture
async def desk(served: Served) -> Desk:
    return Desk(served, await served.app())


@asynccontextmanager
async def desk_on(url: str, **changes: Any) -> AsyncIterator[Desk]:
    async with serving(url, **changes) as served:
        yield Desk(served, await served.app())


def verified(call: Any, secret: str = SECRET) -> Mapping[str, Any]:
    """The body, if the published verifier takes it."""
    body = Webhook(secret).verify(call.body, call.headers)
    assert isinstance(body, dict)
    return body


async def test_enrollment_arrives_signed_once_and_with_its_place_in_the_log(desk: Desk) -> None:
    async with receiving(OK) as told:
        await desk.endpoint(told.url)
        await desk.enroll("ada@example.com")
        [row] = await desk.settled()

    [call] = told.calls
    body = verified(call)
    assert (body["type"], body["data"]["sequence"]) == ("user.enrolled", "1")
    assert body["data"]["user"]["user_id"] == "ada@example.com"
    assert body["data"]["app"] == {"id": desk.app.app_id, "name": "notes"}
    assert "email" not in body["data"]["user"]
    assert call.headers["webhook-id"].startswith("evt_")
    assert (row.state, row.attempts, row.out_of_order) == ("done", 1, "no")
    [attempt] = await desk.attempts_of(row)
    assert (attempt.outcome, attempt.status, attempt.address) == ("ok", 200, "127.0.0.1")


async def test_endpoint_hears_what_it_asked_for_in_the_form_it_asked_for(desk: Desk) -> None:
    async with receiving(OK) as told:
        await desk.endpoint(told.url, format="full", events=("user.updated",), headers={"x-key": "abc"})
        await desk.enroll("ada@example.com")
        await desk.rename("ada@example.com", "Ada")
        await desk.settled()

    [call] = told.calls
    assert verified(call)["data"]["user"]["data"] == {"nick": "Ada"}
    assert call.headers["x-key"] == "abc"


async def test_failures_are_tried_again_under_the_same_id_at_growing_pauses(served_url: str) -> None:
    hands = Hands()
    async with (
        serving(served_url, hands=hands) as served,
        receiving(in_turn(always(500), always(500), OK)) as told,
    ):
        desk = Desk(served, await served.app())
        await desk.endpoint(told.url, retry_delays=(60.0, 600.0))
        await desk.enroll("ada@example.com")
        first = await desk.failed_once()
        assert 47_000 < first.due_at - served.hands() < 73_000

        hands.move(seconds=73)
        served.gateway.db.signals.look_yourselves()
        [second] = await desk.until(lambda rows: rows[0].attempts == 2 and rows[0].state == "waiting")
        assert 470_000 < second.due_at - served.hands() < 730_000
        hands.move(seconds=730)
        served.gateway.db.signals.look_yourselves()
        [row] = await desk.settled()
        tried = await desk.attempts_of(row)

    assert row.state == "done"
    assert len({call.headers["webhook-id"] for call in told.calls}) == 1
    assert len({call.body for call in told.calls}) == 1
    stamps = [int(call.headers["webhook-timestamp"]) for call in told.calls]
    assert stamps[0] < stamps[1] < stamps[2]
    assert [each.outcome for each in tried] == ["http_500", "http_500", "ok"]


async def test_a_receiver_is_not_to_blame_for_our_own_database(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent: it is no attempt, and the endpoint neither rests nor is in trouble."""
    people = [f"person{number}" for number in range(FAILURES_TO_REST + 1)]
    away, honest = set(people), Book.endpoint

    async def unread(book: Book, *key: str) -> Endpoint | None:
        if away:
            away.pop()
            raise StorageUnavailable("The database does not answer.")
        return await honest(book, *key)

    monkeypatch.setattr(Book, "endpoint", unread)
    monkeypatch.setattr(delivery, "UNREAD_MS", 1)
    async with receiving(OK) as receiver:
        await desk.endpoint(receiver.url)
        await desk.enroll(*people)
        rows = await desk.settled(len(people))
    assert not away
    assert {(row.state, row.attempts) for row in rows} == {("done", 1)}
    assert [[each.outcome for each in await desk.attempts_of(row)] for row in rows] == [["ok"]] * len(people)


async def test_delivery_whose_last_attempt_fails_is_dead_and_can_be_found(desk: Desk) -> None:
    async with receiving(always(500)) as told:
        await desk.endpoint(told.url, retry_delays=(1.0,))
        await desk.enroll("ada@example.com")
        [row] = await desk.settled()

    assert (row.state, row.attempts) == ("dead", 2)
    assert row.failed_at == row.finished_at
    assert row.detail == "It answered 500; only 2xx says that the event was received."


async def hostile(kind: str) -> Any:
    async def never_ends(_request: receivers.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async def drips(_request: receivers.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def resets(_request: receivers.Request, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    bomb = gzip.compress(b"\0" * 10_000_000)
    return {
        "never ends": never_ends,
        "drips": drips,
        "resets": resets,
        "bad status line": receivers.answering(b"HTTP/9.9 what\r\n\r\n"),
        "gzip bomb": receivers.answering(receivers.response(bomb, headers="Content-Encoding: gzip\r\n")),
        "redirect": receivers.answering(
            receivers.response(status="302 Found", headers="Location: http://127.0.0.1:1/\r\n")
        ),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "outcome", "sentence"),
    [
        ("never ends", "ok", "It answered 200."),
        ("drips", "timeout", "127.0.0.1 did not answer within 0.5 s."),
        ("resets", "connect", "127.0.0.1 closed the connection without an answer."),
        ("bad status line", "protocol", "127.0.0.1 answered with something that is not HTTP."),
        ("gzip bomb", "ok", "It answered 200."),
        (
            "redirect",
            "http_302",
            "It answered 302, a redirect, which is not followed. Give the endpoint its new address.",
        ),
    ],
)
async def test_hostile_reply_ends_as_an_outcome_that_a_person_understands(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kind: str, outcome: str, sentence: str
) -> None:
    if kind == "drips":
        monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 0.5)
    async with receivers.receiver(await hostile(kind)) as told:
        await desk.endpoint(told.url())
        await desk.enroll("ada@example.com")
        [row] = await desk.until(lambda rows: rows[0].attempts > 0 and rows[0].state != "claimed")

    [attempt] = await desk.attempts_of(row)
    assert (attempt.outcome, attempt.detail) == (outcome, sentence)
    assert len(attempt.reply) <= delivery.REPLY_BYTES_MAX


async def test_certificate_that_nobody_trusts_ends_as_an_outcome_that_a_person_understands(
    desk: Desk, tmp_path: Path
) -> None:
    tls = receivers.Authority(tmp_path).serving("127.0.0.1")
    async with receivers.receiver(receivers.answering(receivers.response()), tls=tls) as told:
        await desk.endpoint(told.url(scheme="https"))
        await desk.enroll("ada@example.com")
        [attempt] = await desk.attempts_of(await desk.failed_once())

    assert told.requests == []
    assert attempt.outcome == "tls"
    assert attempt.detail.startswith("The certificate of 127.0.0.1 is not valid")


async def test_address_that_must_not_be_reached_is_refused_at_every_attempt(served_sqlite_url: str) -> None:
    async with desk_on(served_sqlite_url, egress_allow="10.1.2.3") as desk, receiving(OK) as told:
        await desk.endpoint(told.url)
        await desk.enroll("ada@example.com")
        [attempt] = await desk.attempts_of(await desk.failed_once())

    assert told.calls == []
    assert attempt.outcome in ("url", "address")
    assert "loopback" in attempt.detail


async def test_gone_disables_the_endpoint_at_once_and_says_so_in_the_log(desk: Desk) -> None:
    async with receiving(always(410)) as told:
        endpoint = await desk.endpoint(told.url)
        await desk.enroll("ada@example.com")
        [row] = await desk.settled()
        await desk.enroll("bob@example.com")
        await asyncio.sleep(0.1)

    assert (row.state, len(told.calls)) == ("dead", 1)
    assert (await desk.state(endpoint)).state == "disabled"
    assert "endpoint.disabled" in await desk.types()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_retry_after_is_obeyed(desk: Desk, status: int) -> None:
    async with receiving(always(status, {"Retry-After": "3600"})) as told:
        await desk.endpoint(told.url)
        await desk.enroll("ada@example.com")
        row = await desk.failed_once()
        await desk.enroll("bob@example.com")
        await asyncio.sleep(0.1)

    assert row.due_at - row.tried_at >= 3_600_000
    assert len(told.calls) == 1, "the endpoint is left alone meanwhile"


async def test_endpoint_that_only_fails_is_told_of_after_a_day_and_disabled_after_five(
    served_url: str,
) -> None:
    hands = Hands()
    async with (
        serving(served_url, hands=hands) as served,
        receiving(always(500)) as told,
        receiving(OK) as watch,
    ):
        desk = Desk(served, await served.app())
        failing = await desk.endpoint(told.url, retry_delays=(1.0,))
        await desk.endpoint(watch.url, events=("endpoint.failing", "endpoint.disabled"))

        async def fail(person: str) -> Endpoint:
            await desk.enroll(person)
            await desk.until(
                lambda rows: (
                    any(row.lane == failing and row.subject for row in rows)
                    and all(row.tried_at > 0 for row in rows if row.lane == failing)
                )
            )
            return await desk.state(failing)

        first = await fail("ada@example.com")
        assert first.failing_since is not None
        hands.move(days=health.NOTICE_MS / 86_400_000 + 0.1)
        assert (await fail("bob@example.com")).noticed_at is not None
        await desk.until(lambda _rows: len(served.mails) == 1)
        hands.move(days=4)
        await desk.enroll("eve@example.com")
        await desk.until(lambda _rows: len(watch.calls) == 2 and len(served.mails) == 2)
        assert (await desk.state(failing)).state == "disabled"
        mails = [received.mail for received in served.mails]

    kinds = [json.loads(call.body)["type"] for call in watch.calls]
    assert kinds == ["endpoint.failing", "endpoint.disabled"]
    assert [mail.to for mail in mails] == ["owner@example.com"] * 2
    assert [mail.subject for mail in mails] == [
        "notes: an endpoint has been failing for a day",
        "notes: an endpoint was disabled",
    ]
    where = told.url.removesuffix("/decide")
    assert all(where in mail.text and told.url not in mail.text for mail in mails), "the path is a secret"
    assert all("It answered 500" in mail.text for mail in mails)
    assert all(json.loads(call.body)["data"]["endpoint"]["url"] == where for call in watch.calls)
    assert f"admit endpoint resume notes {failing}" in mails[1].text


async def test_what_an_outage_has_taken_is_sent_when_the_endpoint_is_enabled_again(desk: Desk) -> None:
    async with receiving(in_turn(always(410), OK)) as told:
        endpoint = await desk.endpoint(told.url)
        await desk.enroll("ada@example.com")
        await desk.settled()
        await desk.enroll("bob@example.com")
        app_id, now = desk.app.app_id, desk.served.hands()
        await desk.served.gateway.db.write(lambda tx: endpoint_states.resume(tx, app_id, endpoint, now))
        await desk.until(lambda rows: [row.state for row in rows] == ["done", "done"])

    people = [json.loads(call.body)["data"]["user"]["user_id"] for call in told.calls]
    assert people[0] == "ada@example.com"
    assert sorted(people[1:]) == ["ada@example.com", "bob@example.com"]
    assert told.calls[0].headers["webhook-id"] in {call.headers["webhook-id"] for call in told.calls[1:]}


async def test_success_ends_a_row_of_failures(desk: Desk) -> None:
    async with receiving(in_turn(always(500), OK)) as told:
        endpoint = await desk.endpoint(told.url, retry_delays=(1.0,))
        await desk.enroll("ada@example.com")
        await desk.failed_once()
        assert (await desk.state(endpoint)).failing_since is not None
        await desk.settled()

    assert (await desk.state(endpoint)).failing_since is None


async def test_one_persons_events_arrive_in_order_and_nobody_else_waits_for_them(desk: Desk) -> None:
    refused_first: set[str] = set()

    async def script(request: web.Request) -> web.StreamResponse:
        data = json.loads(await request.read())["data"]
        if data["user"]["user_id"] == "ada@example.com" and data["sequence"] not in refused_first:
            refused_first.add(data["sequence"])
            return web.Response(status=500)
        return web.Response(status=200)

    async with receiving(script) as told:
        await desk.endpoint(told.url, retry_delays=(1.0, 1.0))
        await desk.enroll("ada@example.com", "bob@example.com")
        for name in ("Ada", "Ada L."):
            await desk.rename("ada@example.com", name)
            await desk.rename("bob@example.com", name)
        await desk.settled(6)

    bodies = [json.loads(call.body)["data"] for call in told.calls]
    adas = [int(each["sequence"]) for each in bodies if each["user"]["user_id"] == "ada@example.com"]
    assert adas == sorted(adas)
    assert len(adas) == 6
    bobs_last = max(at for at, each in enumerate(bodies) if each["user"]["user_id"] == "bob@example.com")
    adas_second = [at for at, each in enumerate(bodies) if each["user"]["user_id"] == "ada@example.com"][1]
    assert bobs_last < adas_second + 4


async def test_endpoint_that_comes_back_gets_its_backlog_early_and_in_each_persons_order(
    served_url: str,
) -> None:
    """An outage leaves retries that are due in hours. The first success brings them forward."""
    up = asyncio.Event()

    async def script(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=200 if up.is_set() else 503, headers={"Retry-After": "0"})

    hands = Hands()
    async with serving(served_url, hands=hands) as served, receiving(script) as told:
        desk = Desk(served, await served.app())
        await desk.endpoint(told.url, retry_delays=(36_000.0, 36_000.0, 36_000.0))
        people = [f"p{number}@example.com" for number in range(FAILURES_TO_REST + 15)]
        await desk.enroll(*people[:FAILURES_TO_REST])
        await desk.until(lambda rows: all(row.attempts == 1 and row.state == "waiting" for row in rows))
        for person in people[:FAILURES_TO_REST]:
            await desk.rename(person, "Later")
        up.set()
        told.calls.clear()
        hands.move(seconds=90)
        served.gateway.db.signals.look_yourselves()
        await desk.enroll(*people[FAILURES_TO_REST:])
        rows = await desk.settled(2 * FAILURES_TO_REST + 15)

    assert all(row.state == "done" and row.out_of_order == "no" for row in rows)
    seen: dict[str, list[int]] = {}
    for call in told.calls:
        data = json.loads(call.body)["data"]
        seen.setdefault(data["user"]["user_id"], []).append(int(data["sequence"]))
    assert all(sequence == sorted(sequence) for sequence in seen.values())


async def test_hanging_endpoint_does_not_delay_another(desk: Desk) -> None:
    async with receiving(OK, held=True) as hanging, receiving(OK) as told:
        await desk.endpoint(hanging.url)
        await desk.endpoint(told.url)
        for number in range(8):
            await desk.enroll(*(f"{number}_{each}@example.com" for each in range(10)))
        await asyncio.wait_for(_arrived(told, 80), 10)

        assert len(hanging.calls) <= 4


async def _arrived(told: Receiver, count: int) -> None:
    while len(told.calls) < count:
        await asyncio.sleep(0.01)


async def test_paused_endpoint_is_sent_nothing_not_even_what_waits(desk: Desk) -> None:
    async with receiving(in_turn(always(500), OK)) as told:
        endpoint = await desk.endpoint(told.url, retry_delays=(1.0,))
        await desk.enroll("ada@example.com")
        await desk.failed_once()
        served = desk.served
        await served.gateway.db.write(
            lambda tx: endpoint_states.pause(tx, desk.app.app_id, endpoint, served.hands())
        )
        await desk.enroll("bob@example.com")
        await asyncio.sleep(1.5)

        assert len(told.calls) == 1
        [row] = await desk.rows()
        assert row.state == "waiting"


async def test_what_was_not_delivered_of_a_deleted_person_never_is(desk: Desk) -> None:
    async with receiving(in_turn(always(500), OK)) as told:
        await desk.endpoint(told.url, events=("user.enrolled", "user.deleted"), format="full")
        await desk.enroll("ada@example.com")
        await desk.failed_once()
        served = desk.served
        await user_deletion.delete_user(served.gateway.db, desk.app.app_id, "ada@example.com", served.hands())
        rows = await desk.settled(2)

    assert [row.state for row in rows] == ["dead", "done"]
    assert [json.loads(call.body)["type"] for call in told.calls] == ["user.enrolled", "user.deleted"]
    [attempt] = await desk.attempts_of(rows[0])
    assert attempt.reply == ""


async def test_once_per_user_is_once_however_often_they_enroll(desk: Desk) -> None:
    async with receiving(OK) as once, receiving(OK) as every:
        await desk.endpoint(once.url, once="user")
        await desk.endpoint(every.url)
        await desk.enroll("ada@example.com")
        await desk.rename("ada@example.com", "Ada")
        await desk.settled(4)

    assert len(once.calls) == len(every.calls) == 2


async def test_two_servers_on_one_database_deliver_each_event_once(served_postgres_url: str) -> None:
    async with desk_on(served_postgres_url) as desk, serving(served_postgres_url) as other:
        two = Desk(other, desk.app)
        async with receiving(OK) as told:
            await desk.endpoint(told.url)
            await asyncio.gather(
                *(
                    (desk if number % 2 else two).enroll(
                        *(f"{number}_{each}@example.com" for each in range(5))
                    )
                    for number in range(20)
                )
            )
            await desk.settled(100)

        ids = [call.headers["webhook-id"] for call in told.calls]
        assert len(ids) == len(set(ids)) == 100
