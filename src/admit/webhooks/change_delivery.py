"""Delivery to change hooks: what has come is gathered and sent in one request, the rest is left to the next.

A job fixes what it tells when it begins, before it sends anything. So each of its attempts says the same
under the same webhook-id, also after a crash.
"""

from functools import partial
from typing import Literal, assert_never

import msgspec
from msgspec.structs import replace

from admit.clock import HOUR_MS, MINUTE_MS, SECOND_MS, Clock
from admit.jobs import attempts, queue
from admit.jobs.attempts import Attempt
from admit.jobs.handling import Done, GiveUp, Later, Line, Outcome
from admit.jobs.pace import Adaptive
from admit.jobs.queue import Job
from admit.jobs.retry import Schedule
from admit.outbound import signing
from admit.outbound.http import Failure, HttpClient, Reply
from admit.storage.database import Database
from admit.storage.transaction import Transaction, Unit
from admit.webhooks import change_hooks, change_portions, delivery, verdicts
from admit.webhooks.book import Book
from admit.webhooks.change_hooks import KIND as KIND
from admit.webhooks.change_hooks import Portion
from admit.webhooks.change_portions import Outlook
from admit.webhooks.endpoint_settings import RETRY_DELAYS_MAX
from admit.webhooks.endpoints import Endpoint
from admit.webhooks.health import DISABLE_MS

SECONDS_MAX = 40.0
AT_ONCE = 32
"""Over all hooks of this process: each may hold some 10 MB."""
LOOKS_MAX = 50
TOKEN_HEADER = "X-DexieCloud-Token"  # noqa: S105

_FIRST = (5 * SECOND_MS, MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, 30 * MINUTE_MS)
SCHEDULE = Schedule((*_FIRST, *(HOUR_MS,) * (2 * DISABLE_MS // HOUR_MS)))
"""Longer than an endpoint fails that is not disabled: what is next would be told in the wrong order."""

_DROPPED = "Some of what it tells is no longer kept."
_REMOVED = "The endpoint was removed."
_EMPTIED = "The people are deleted of whom it would have told."
_NOTHING = "There was nothing to tell."


def line(db: Database, book: Book, http: HttpClient, clock: Clock) -> Line:
    """How the worker works off what change hooks are told."""
    return Line(
        Courier(db, book, http, clock).deliver,
        SCHEDULE,
        seconds_max=SECONDS_MAX,
        at_once=AT_ONCE,
        pace=lambda _endpoint: Adaptive(),
        attempts_max=max(SCHEDULE.attempts_max, RETRY_DELAYS_MAX + 1),
        keeps_payloads=True,
    )


class Courier:
    """Delivers changes."""

    def __init__(self, db: Database, book: Book, http: HttpClient, clock: Clock) -> None:
        self._db = db
        self._book = book
        self._http = http
        self._clock = clock

    async def deliver(self, job: Job) -> Outcome:
        """One attempt."""
        return await delivery.put_back_if_unread(self._deliver(job))

    async def _deliver(self, job: Job) -> Outcome:
        endpoint = await self._book.endpoint(job.app_id, job.lane)
        if endpoint is None:
            return GiveUp(_REMOVED)
        portion = _portion_of(job) if job.payload else await self._begin(job)
        if not isinstance(portion, Portion):
            return portion
        read = partial(change_portions.changes_of, app_id=job.app_id, portion=portion)
        changes = await self._db.read(read)
        if changes is None:
            return GiveUp(_DROPPED, unit=_next(job, self._clock()))
        if not changes:
            return Done(_EMPTIED, unit=_next(job, self._clock()))
        started = self._clock()
        body = change_portions.body(changes)
        answer = await post(self._http, endpoint, job.job_id, body, started)
        now = self._clock()
        verdict = verdicts.judge(answer, now)
        # Without the reply: it may quote what is about people, of whom a body tells many.
        noted = replace(delivery.attempt_of(job, verdict, answer, started, now), reply="", headers={})
        unit = delivery.with_consequence(_noted(noted, job, now), verdict, endpoint, now)
        if verdict.kind == "delivered":
            return Done(verdict.detail + _what_was_missed(portion), unit=unit)
        # Also where it says that it is gone: it is disabled then, and who enables it begins with this one.
        return delivery.again(verdict, endpoint, unit)

    async def _begin(self, job: Job) -> Portion | Outcome:
        """Fixes what the job tells; an outcome, where there is nothing to be sent."""
        for _ in range(LOOKS_MAX):
            look = partial(change_portions.look, app_id=job.app_id, endpoint_id=job.lane)
            outlook = await self._db.read(look)
            if outlook is None:
                return GiveUp(_REMOVED)
            if not outlook.anything and outlook.portion.until == outlook.told_until:
                break
            match await self._db.write(partial(_fix, job=job, outlook=outlook)):
                case "fixed":
                    if outlook.anything:
                        return outlook.portion
                    if not outlook.more:
                        break
                case "moved":
                    pass
                case "lost":
                    return Later("Another worker has taken it over.", 0)
                case other:
                    assert_never(other)
        return Done(_NOTHING, unit=_next(job, self._clock()))


async def post(http: HttpClient, endpoint: Endpoint, body_id: str, body: bytes, now: int) -> Reply | Failure:
    """Signs and sends `body` once, with the secret itself beside the signature. `now`: UTC ms."""
    return await http.post(
        endpoint.url, body, headers_of(endpoint, body_id, body, now),
        timeout_seconds=delivery.TIMEOUT_SECONDS, reply_bytes_max=delivery.REPLY_BYTES_MAX,
    )  # fmt: skip


def headers_of(endpoint: Endpoint, body_id: str, body: bytes, now: int) -> dict[str, str]:
    """The headers of a request. A token among the operator's own headers goes in place of the secret."""
    signed = signing.headers(endpoint.live_secrets(now), body_id, now // 1_000, body)
    token = {} if TOKEN_HEADER.lower() in endpoint.headers else {TOKEN_HEADER: endpoint.secrets[0].text}
    return {**endpoint.headers, **token, "Content-Type": "application/json", **signed}


def _fix(tx: Transaction, job: Job, outlook: Outlook) -> Literal["fixed", "moved", "lost"]:
    """Says once and for all what a job tells. lost: the claim is; moved: the place it was looked from."""
    if not queue.holds(tx, job):
        return "lost"
    portion = outlook.portion
    if not change_hooks.move(tx, job.app_id, job.lane, outlook.told_until, portion.until):
        return "moved"
    if outlook.anything:
        queue.give_payload(tx, job, msgspec.json.encode(portion).decode())
    return "fixed"


def _portion_of(job: Job) -> Portion:
    return msgspec.json.decode(job.payload, type=Portion)


def _next(job: Job, now: int) -> Unit[None]:
    return partial(change_hooks.go_on, app_id=job.app_id, endpoint_id=job.lane, now=now)


def _noted(attempt: Attempt, job: Job, now: int) -> Unit[None]:
    def unit(tx: Transaction) -> None:
        attempts.note(tx, attempt)
        change_hooks.go_on(tx, job.app_id, job.lane, now)

    return unit


def _what_was_missed(portion: Portion) -> str:
    if not portion.missed:
        return ""
    return f" Of {portion.missed} events before it nothing is kept any more: read the objects themselves."
