"""Delivery: one event owed to one endpoint is signed, sent, and what came back decides what becomes of it."""

from collections.abc import Sequence
from functools import partial

import msgspec

from admit.accounts.directory import Directory
from admit.clock import HOUR_MS, MINUTE_MS, SECOND_MS, Clock
from admit.errors import NotFound
from admit.events import log
from admit.events.log import Recorded
from admit.jobs import attempts
from admit.jobs.attempts import Attempt
from admit.jobs.pace import Adaptive
from admit.jobs.queue import Job
from admit.jobs.retry import Schedule
from admit.jobs.worker import Again, Done, GiveUp, Line, Outcome
from admit.outbound import signing
from admit.outbound.http import Failure, HttpClient, Reply
from admit.storage.transaction import Transaction, Unit
from admit.webhooks import endpoint_states, messages, verdicts
from admit.webhooks.book import Book
from admit.webhooks.endpoint_settings import RETRY_DELAYS_MAX
from admit.webhooks.endpoints import Endpoint
from admit.webhooks.health import after_failure
from admit.webhooks.verdicts import Verdict

TIMEOUT_SECONDS = 15.0
REPLY_BYTES_MAX = 16_384
AT_ONCE = 1_024
"""Over all endpoints of this process. Who hangs is soon down to one at once (`jobs.pace`)."""

SCHEDULE = Schedule(
    (
        5 * SECOND_MS,
        5 * MINUTE_MS,
        30 * MINUTE_MS,
        *(hours * HOUR_MS for hours in (2, 5, 10, 14, 20, 24)),
    )
)
"""Ten attempts over some 75 hours."""

_DROPPED = "The event is no longer kept."
_REMOVED = "The endpoint was removed."


class Owed(msgspec.Struct, frozen=True):
    """A claimed delivery with the event that it tells; None where that is no longer kept."""

    job: Job
    event: Recorded | None
    backfill: bool = False
    test: bool = False


class Enclosed(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a delivery whose event is not in the log: of a backfill, or a test."""

    event_id: str
    type: str
    occurred_at: int
    data: msgspec.Raw
    backfill: bool = False
    test: bool = False


def line(book: Book, directory: Directory, http: HttpClient, clock: Clock) -> Line:
    """How the worker works off deliveries."""
    courier = Courier(book, directory, http, clock)
    return Line(
        courier.deliver,
        SCHEDULE,
        seconds_max=TIMEOUT_SECONDS + 5,
        at_once=AT_ONCE,
        pace=lambda _endpoint: Adaptive(),
        load=load,
        attempts_max=RETRY_DELAYS_MAX + 1,
    )


def load(tx: Transaction, claimed: list[Job]) -> Sequence[Owed]:
    """The events of claimed deliveries, in list form."""
    told = [(job.app_id, job.sequence) for job in claimed if job.sequence]
    events = log.find_each(tx, told)
    return [
        Owed(job, events.get((job.app_id, job.sequence))) if job.sequence else _enclosed(job)
        for job in claimed
    ]


class Courier:
    """Delivers what is owed."""

    def __init__(self, book: Book, directory: Directory, http: HttpClient, clock: Clock) -> None:
        self._book = book
        self._directory = directory
        self._http = http
        self._clock = clock

    async def deliver(self, owed: Owed) -> Outcome:
        """One attempt."""
        job, event = owed.job, owed.event
        endpoint = await self._book.endpoint(job.app_id, job.lane)
        if endpoint is None:
            return GiveUp(_REMOVED)
        if event is None:
            return GiveUp(_DROPPED)
        try:
            app = await self._directory.app_by_id(job.app_id)
        except NotFound:
            return GiveUp(_REMOVED)
        body = messages.body(
            event,
            app.app_id,
            app.name,
            full=endpoint.full,
            out_of_order=job.out_of_order,
            backfill=owed.backfill,
            test=owed.test,
        )
        started = self._clock()
        answer = await post(self._http, endpoint, event.event_id, body, started)
        now = self._clock()
        verdict = verdicts.judge(answer, now)
        noted = _attempt(job, verdict, answer, started, now)
        unit = partial(attempts.note, attempt=noted, subject=job.subject)
        return _outcome(verdict, endpoint, unit, now)


async def post(http: HttpClient, endpoint: Endpoint, event_id: str, body: bytes, now: int) -> Reply | Failure:
    """Signs and sends `body` once. `now` (UTC ms) is when: receivers refuse what was signed long ago."""
    return await http.post(
        endpoint.url, body, headers_of(endpoint, event_id, body, now),
        timeout_seconds=TIMEOUT_SECONDS, reply_bytes_max=REPLY_BYTES_MAX,
    )  # fmt: skip


def headers_of(endpoint: Endpoint, event_id: str, body: bytes, now: int) -> dict[str, str]:
    """The headers of a request, those of the operator first."""
    signed = signing.headers(endpoint.live_secrets(now), event_id, now // 1_000, body)
    return {**endpoint.headers, "Content-Type": "application/json", **signed}


def _outcome(verdict: Verdict, endpoint: Endpoint, unit: Unit[None], now: int) -> Outcome:
    """What becomes of the delivery; `unit` and what it means for the endpoint are committed with it."""
    if verdict.kind == "delivered":
        if endpoint.failing_since is not None:
            unit = _both(unit, partial(endpoint_states.recovered, endpoint=endpoint))
        return Done(verdict.detail, erase_payload=True, unit=unit)
    if verdict.kind == "gone":
        gone = partial(endpoint_states.disable, endpoint=endpoint, reason=verdict.detail, now=now)
        return GiveUp(verdict.detail, unit=_both(unit, gone))
    if after_failure(endpoint.failing_since, endpoint.noticed_at, now) is not None:
        failed = partial(endpoint_states.failed, endpoint=endpoint, detail=verdict.detail, now=now)
        unit = _both(unit, failed)
    return Again(
        verdict.detail,
        at_least_ms=verdict.retry_after_ms,
        rest_ms=verdict.rest_ms,
        schedule=endpoint.schedule,
        unit=unit,
    )


def _both(first: Unit[None], second: Unit[object]) -> Unit[None]:
    def unit(tx: Transaction) -> None:
        first(tx)
        second(tx)

    return unit


def _attempt(job: Job, verdict: Verdict, answer: Reply | Failure, started: int, now: int) -> Attempt:
    return Attempt(
        app_id=job.app_id,
        job_id=job.job_id,
        attempt=job.attempts,
        lane=job.lane,
        started_at=started,
        duration_ms=now - started,
        outcome=verdict.outcome,
        status=verdict.status,
        address=answer.address,
        detail=verdict.detail,
        reply=answer.body.decode(errors="replace") if isinstance(answer, Reply) else "",
    )


def _enclosed(job: Job) -> Owed:
    if not job.payload:
        return Owed(job, None)
    own = msgspec.json.decode(job.payload, type=Enclosed)
    event = Recorded(0, own.event_id, own.type, job.subject, own.occurred_at, own.data)
    return Owed(job, event, own.backfill, own.test)
