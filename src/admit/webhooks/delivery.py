"""Delivery: one event owed to one endpoint is signed, sent, and what came back decides what becomes of it."""

from collections.abc import Awaitable, Mapping, Sequence
from functools import partial

import msgspec

from admit.accounts.directory import Directory
from admit.clock import HOUR_MS, MINUTE_MS, SECOND_MS, Clock
from admit.errors import NotFound, StorageUnavailable
from admit.events import log
from admit.events.log import Recorded
from admit.jobs import attempts
from admit.jobs.attempts import Attempt
from admit.jobs.handling import Later
from admit.jobs.pace import Adaptive
from admit.jobs.queue import Job
from admit.jobs.retry import Schedule
from admit.jobs.worker import Again, Done, GiveUp, Line, Outcome
from admit.outbound import signing
from admit.outbound.http import Failure, HttpClient, Reply
from admit.storage.transaction import Transaction, Unit
from admit.webhooks import endpoint_states, journey_messages, messages, verdicts
from admit.webhooks.book import Book
from admit.webhooks.endpoint_settings import RETRY_DELAYS_MAX
from admit.webhooks.endpoints import Endpoint
from admit.webhooks.health import after_failure
from admit.webhooks.verdicts import Verdict

TIMEOUT_SECONDS = 15.0
REPLY_BYTES_MAX = 16_384
UNREAD_MS = SECOND_MS
"""How long a delivery waits for our own database, for which its receiver is not to blame."""
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


def line(book: Book, directory: Directory, http: HttpClient, clock: Clock, *, server: str) -> Line:
    """How the worker works off deliveries. `server`: our host, as some receivers are told it."""
    courier = Courier(book, directory, http, clock, server)
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

    def __init__(self, book: Book, directory: Directory, http: HttpClient, clock: Clock, server: str) -> None:
        self._server = server
        self._book = book
        self._directory = directory
        self._http = http
        self._clock = clock

    async def deliver(self, owed: Owed) -> Outcome:
        """One attempt."""
        return await put_back_if_unread(self._deliver(owed))

    async def _deliver(self, owed: Owed) -> Outcome:
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
        body = self._body(owed, event, endpoint, app.name)
        started = self._clock()
        signed = await self._book.journey_headers(endpoint, body, started)
        answer = await post(self._http, endpoint, event.event_id, body, started, signed)
        now = self._clock()
        verdict = verdicts.judge(answer, now)
        noted = attempt_of(job, verdict, answer, started, now)
        unit = partial(attempts.note, attempt=noted, subject=job.subject)
        return _outcome(verdict, endpoint, unit, now)

    def _body(self, owed: Owed, event: Recorded, endpoint: Endpoint, app_name: str) -> bytes:
        if endpoint.settings.hook:
            return journey_messages.body(
                event, endpoint, app_name=app_name, server=self._server, test=owed.test
            )
        return messages.body(
            event,
            endpoint.app_id,
            app_name,
            full=endpoint.full,
            out_of_order=owed.job.out_of_order,
            backfill=owed.backfill,
            test=owed.test,
        )


async def put_back_if_unread(attempt: Awaitable[Outcome]) -> Outcome:
    """What came of an attempt that reads before it sends, and never after: nothing was sent where our own
    database did not answer, so that it was no attempt."""
    try:
        return await attempt
    except StorageUnavailable as error:
        return Later(str(error), UNREAD_MS)


async def post(
    http: HttpClient, endpoint: Endpoint, event_id: str, body: bytes, now: int, signed: Mapping[str, str]
) -> Reply | Failure:
    """Signs and sends `body` once. `now` (UTC ms) is when: receivers refuse what was signed long ago.

    `signed`: `Book.journey_headers`.
    """
    return await http.post(
        endpoint.url, body, headers_of(endpoint, event_id, body, now, signed),
        timeout_seconds=TIMEOUT_SECONDS, reply_bytes_max=REPLY_BYTES_MAX,
    )  # fmt: skip


def headers_of(
    endpoint: Endpoint, event_id: str, body: bytes, now: int, signed: Mapping[str, str]
) -> dict[str, str]:
    """The headers of a request, those of the operator first."""
    usual = signing.headers(endpoint.live_secrets(now), event_id, now // 1_000, body)
    return {**endpoint.headers, "Content-Type": "application/json", **signed, **usual}


def _outcome(verdict: Verdict, endpoint: Endpoint, unit: Unit[None], now: int) -> Outcome:
    """What becomes of the delivery; `unit` and what it means for the endpoint are committed with it."""
    unit = with_consequence(unit, verdict, endpoint, now)
    match verdict.kind:
        case "delivered":
            return Done(verdict.detail, erase_payload=True, unit=unit)
        case "gone":
            return GiveUp(verdict.detail, unit=unit)
        case "again":
            return again(verdict, endpoint, unit)


def with_consequence(unit: Unit[None], verdict: Verdict, endpoint: Endpoint, now: int) -> Unit[None]:
    """`unit`, and behind it what an answer means for the endpoint."""
    if verdict.kind == "delivered":
        if endpoint.failing_since is None:
            return unit
        return _both(unit, partial(endpoint_states.recovered, endpoint=endpoint))
    if verdict.kind == "gone":
        return _both(
            unit, partial(endpoint_states.disable, endpoint=endpoint, reason=verdict.detail, now=now)
        )
    if after_failure(endpoint.failing_since, endpoint.noticed_at, now) is None:
        return unit
    return _both(unit, partial(endpoint_states.failed, endpoint=endpoint, detail=verdict.detail, now=now))


def again(verdict: Verdict, endpoint: Endpoint, unit: Unit[None]) -> Again:
    """Another attempt, when the endpoint and its answer say."""
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


def attempt_of(job: Job, verdict: Verdict, answer: Reply | Failure, started: int, now: int) -> Attempt:
    """What is noted of an attempt."""
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
        headers=dict(answer.headers) if isinstance(answer, Reply) else {},
    )


def _enclosed(job: Job) -> Owed:
    if not job.payload:
        return Owed(job, None)
    own = msgspec.json.decode(job.payload, type=Enclosed)
    event = Recorded(0, own.event_id, own.type, job.subject, own.occurred_at, own.data)
    return Owed(job, event, own.backfill, own.test)
