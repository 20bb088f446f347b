"""Runs that somebody waits for: executed at once, once, and kept like the others.

The run is written before it begins, so that one which a crash has cut short is seen, and not repeated. Who
sends the same idempotency key again is given the answer of the first run.
"""

import asyncio
import re
from collections.abc import Awaitable
from functools import partial
from hashlib import sha256
from typing import Any, Literal, Protocol

import msgspec

from admit.accounts import users
from admit.accounts.apps import App
from admit.clock import SECOND_MS, Clock, new_id
from admit.errors import InvalidToken
from admit.jobs import attempts, outside, queue
from admit.jobs.queue import Job, Settlement
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from admit.task import wire
from admit.task.payloads import Request
from admit.tasks import run_orders, run_outcomes, run_records
from admit.tasks.change_sets import WriteUsers
from admit.tasks.registrations import KIND
from admit.tasks.registry import Task
from admit.tasks.run_orders import OwedRequest
from admit.tasks.run_outcomes import NotApplied, Tried
from admit.tasks.workshop import Stopped

DRAIN_SECONDS_MAX = 10.0
MARGIN_MS = 60 * SECOND_MS
"""How much longer than it may take a run is left alone before it is taken for dead."""

ANSWER_CHARACTERS_MAX = 7_000_000
"""A body of 1 MB in which every character is written as an escape, with its headers."""

_CREDENTIAL = re.compile(
    r"(?!user-agent|.*[cx]srf)"
    r".*(api-?key|access-?key|auth|token|secret|credential|password|jwt|assertion|principal|user|email)"
)
"""Names of headers by which a task of the operator's may tell who asks."""

Word = Literal[
    "ok",
    "raised",
    "timeout",
    "memory",
    "crashed",
    "stopped",
    "busy",
    "broken",
    "conflict",
    "refused_changes",
    "declined",
    "under_way",
    "key_reused",
    "paused",
]


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `result` is the JSON that the task has answered, b"" unless `ok`.

    under_way, key_reused: the same idempotency key has come before. Those, and after busy, broken and paused
    nothing new is kept.
    """

    run_id: str
    outcome: Word
    result: bytes = b""
    detail: str = ""


class Attempt(Protocol):
    """Runs a task once for a claimed job; `Runs.attempt`."""

    def __call__(
        self, app: App, task: Task, job: Job, payload: Request, *, urgent: bool, seconds: float | None
    ) -> Awaitable[Tried]: ...


class Requests:
    """Executes requests. Whoever asked may hang up: the run goes on."""

    def __init__(self, db: Database, clock: Clock, attempt: Attempt, write_users: WriteUsers) -> None:
        self._db = db
        self._clock = clock
        self._attempt = attempt
        self._write_users = write_users
        self._under_way: set[asyncio.Task[Executed]] = set()

    async def execute(
        self, app: App, task: Task, request: Request, key: str, seconds: float | None, uid: str | None
    ) -> Executed:
        """Runs an HTTP task for a request of the user `uid`, if it is one's: with them it is erased.

        Raises StorageUnavailable, and InvalidToken where that user has been deleted meanwhile.
        """
        work = asyncio.create_task(self._execute(app, task, request, key, seconds, uid))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        return await asyncio.shield(work)

    async def close(self) -> None:
        """Waits for what is under way, and ends what takes long."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=DRAIN_SECONDS_MAX)
        for work in self._under_way:
            work.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _execute(
        self, app: App, task: Task, request: Request, key: str, seconds: float | None, uid: str | None
    ) -> Executed:
        if task.paused:
            return Executed(run_id="", outcome="paused", detail=f"{task.declaration.name} is paused.")
        owed = OwedRequest(
            task_id=task.task_id,
            method=request.method,
            path=request.path,
            digest=_digest_of(request) if key else "",
        )
        run_id = _run_id_of(task, request, key, uid) if key else new_id("run")
        job = self._job(task, owed, run_id, seconds, uid)
        if not await self._db.write(partial(_begin, job=job)):
            return await self._earlier(job, owed.digest)
        tried = await self._attempt(app, task, job, request, urgent=True, seconds=seconds)
        if isinstance(tried.result, Stopped) and tried.result.kind in ("busy", "broken"):
            await self._db.write(partial(outside.forget, job=job))
            return Executed(run_id=job.job_id, outcome=tried.result.kind, detail=tried.result.detail)
        return await self._settle(job, owed, tried)

    def _job(self, task: Task, owed: OwedRequest, run_id: str, seconds: float | None, uid: str | None) -> Job:
        now = self._clock()
        lasts_ms = round((seconds or task.declaration.timeout_seconds) * 1_000) + MARGIN_MS
        return Job(
            app_id=task.app_id,
            job_id=run_id,
            kind=KIND,
            lane=task.task_id,
            subject=uid,
            sequence=0,
            payload=run_orders.encode(owed),
            attempts=1,
            fence=1,
            out_of_order=False,
            lease_until=now + lasts_ms,
            created_at=now,
        )

    async def _settle(self, job: Job, owed: OwedRequest, tried: Tried) -> Executed:
        attempt = run_outcomes.attempt_of(tried)
        settled = partial(Settlement, job=job, now=tried.now)
        if isinstance(tried.result, wire.Ended):
            unit = partial(self._complete, owed=owed, tried=tried, ended=tried.result)
            settlement = settled(state="done", detail="", unit=unit)
        else:
            unit = partial(run_outcomes.note, tried=tried, attempt=attempt)
            settlement = settled(state="dead", detail=attempt.detail, unit=unit)
        try:
            mine = await self._db.write_together(queue.settle, settlement, at_once=True)
        except NotApplied as not_applied:
            attempt = not_applied.attempt
            unit = partial(run_outcomes.note, tried=tried, attempt=attempt)
            settlement = settled(state="dead", detail=attempt.detail, unit=unit)
            mine = await self._db.write_together(queue.settle, settlement, at_once=True)
        if not mine:
            return Executed(run_id=job.job_id, outcome="stopped", detail="The run was cancelled.")
        word = _word(attempt.outcome)
        result = tried.result.result if isinstance(tried.result, wire.Ended) and word == "ok" else b""
        return Executed(run_id=job.job_id, outcome=word, result=result, detail=attempt.detail)

    def _complete(self, tx: Transaction, owed: OwedRequest, tried: Tried, ended: wire.Ended) -> None:
        run_outcomes.complete(tx, tried, ended, self._write_users)
        if owed.digest:
            answered = msgspec.structs.replace(owed, answer=_storable(tried, ended.result))
            run_records.keep_answer(tx, tried.job.app_id, tried.job.job_id, answered)

    async def _earlier(self, job: Job, digest: str) -> Executed:
        """What has come of the run that has the same key."""
        row, last = await self._db.read(partial(_found, app_id=job.app_id, run_id=job.job_id))
        owed = run_orders.decode(row.payload) if row is not None else None
        told = partial(Executed, run_id=job.job_id)
        if not isinstance(owed, OwedRequest) or owed.digest != digest:
            return told(outcome="key_reused")
        if row.state == "done" and owed.answer:
            return told(outcome="ok", result=owed.answer.encode())
        if row.state != "dead":
            return told(outcome="under_way")
        return told(outcome=_word(last.outcome) if last is not None else "stopped", detail=row.detail)


def _found(tx: Transaction, app_id: str, run_id: str) -> tuple[Any, attempts.Attempt | None]:
    row = outside.find(tx, app_id, KIND, run_id)
    tried = attempts.of_job(tx, app_id, run_id)
    return row, tried[-1] if tried else None


def _storable(tried: Tried, result: bytes) -> str:
    """What a task has answered, as it can be kept. Raises NotApplied: no kit would have sent it."""
    try:
        text = result.decode()
    except UnicodeDecodeError:
        text = ""
    if text and "\0" not in text and len(text) <= ANSWER_CHARACTERS_MAX:
        return text
    raise NotApplied(*run_outcomes.refused(tried, "What the task answered cannot be kept."))


def _begin(tx: Transaction, job: Job) -> bool:
    if job.subject is not None and not users.by_uid(tx, [(job.app_id, job.subject)]):
        raise InvalidToken("The user of this token does not exist any more.")
    return outside.begin(tx, job)


def _run_id_of(task: Task, request: Request, key: str, uid: str | None) -> str:
    """The same for the same key of the same caller, and for nobody else's.

    A caller with a token of ours gets a new one every hour, and is the same. Of others we know no more than
    what they show: whatever `authenticate` may go by tells them apart.
    """
    shown = {name: value for name, value in request.headers.items() if _CREDENTIAL.match(name)}
    caller = None
    if request.caller is not None:
        caller = request.caller.user_id
        shown.pop("authorization", None)
    what = msgspec.json.encode([task.task_id, uid, caller, sorted(shown.items()), key])
    return "run_" + sha256(what).hexdigest()[:40]


def _digest_of(request: Request) -> str:
    asked = msgspec.json.encode([request.method, request.path, request.query])
    return sha256(sha256(asked).digest() + request.body).hexdigest()


def _word(outcome: str) -> Word:
    word: Word = msgspec.convert(outcome, Word)
    return word
