"""What came of an attempt at a run, and what becomes of the run: pure, but for the units that write it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import assert_never

import msgspec
from msgspec.structs import replace

from admit.accounts.apps import App
from admit.clock import HOUR_MS, MINUTE_MS, SECOND_MS
from admit.errors import Conflict
from admit.jobs import attempts, lines
from admit.jobs.attempts import Attempt
from admit.jobs.handling import Again, Done, Instead, Later, Outcome
from admit.jobs.lines import NewLine, Spoken
from admit.jobs.queue import Job
from admit.jobs.retry import Schedule
from admit.storage.transaction import Transaction
from admit.task import wire
from admit.task.declarations import RETRIES_MAX, Called, Declaration
from admit.task.wire import NewCall
from admit.tasks import change_sets, run_starts
from admit.tasks.change_sets import WriteUsers
from admit.tasks.refusals import ChangesRefused, Overtaken
from admit.tasks.workshop import Result, Stopped

CALLS_MAX = 1_000
PARAMETERS_BYTES_MAX = 1_000_000
LAST_NUMBER = 1_000_000
"""Of a line behind all that a run can have said."""
REST_MS = 5 * SECOND_MS

SCHEDULE = Schedule((5 * SECOND_MS, MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS))
"""Six attempts over some seven hours."""
AFTER_CONFLICT = Schedule(
    (50, 100, 200, 500, 1_000, 2_000, 5_000) + (10 * SECOND_MS,) * (RETRIES_MAX - 7),
)
"""Somebody else was faster, who is done by now."""

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a run: whose, when, and what came of it. `tasks`: those of the app by name, with their
    ids."""

    job: Job
    app: App
    declaration: Declaration
    tasks: Mapping[str, tuple[str, Declaration]]
    started_at: int
    now: int
    result: Result
    spoken: Spoken

    @property
    def schedule(self) -> Schedule:
        """When to try again."""
        return schedule_of(self.declaration)


class NotApplied(Instead):
    """What a run wanted was not made: `attempt` tells why."""

    def __init__(self, outcome: Outcome, attempt: Attempt) -> None:
        super().__init__(outcome)
        self.attempt = attempt


def schedule_of(declaration: Declaration) -> Schedule:
    """The pauses that a task asks for, else our own."""
    if declaration.retries_seconds is None:
        return SCHEDULE
    return Schedule(tuple(round(seconds * 1_000) for seconds in declaration.retries_seconds))


def outcome_of(tried: Tried, write_users: WriteUsers) -> Outcome:
    """What becomes of the run."""
    match tried.result:
        case wire.Ended() as ended:
            return Done(unit=partial(complete, tried=tried, ended=ended, write_users=write_users))
        case Stopped(kind="busy" | "broken", detail=detail):
            return Later(detail, REST_MS)
        case _:
            attempt = attempt_of(tried)
            return Again(
                attempt.detail, schedule=tried.schedule, unit=partial(note, tried=tried, attempt=attempt)
            )


def complete(tx: Transaction, tried: Tried, ended: wire.Ended, write_users: WriteUsers) -> None:
    """Applies what the run wants to be different, in the unit of its settlement. Raises NotApplied."""
    try:
        _apply(tx, tried, ended, write_users)
    except Overtaken as overtaken:
        raise NotApplied(*_after_conflict(tried, str(overtaken))) from overtaken
    except ChangesRefused as error:
        raise NotApplied(*refused(tried, str(error))) from error
    note(tx, tried, attempt_of(tried))


def attempt_of(tried: Tried) -> Attempt:
    """The attempt, for the record."""
    match tried.result:
        case wire.Ended(result=result):
            return _attempt(tried, "ok", "", result.decode(errors="replace"))
        case wire.Declined():
            return _attempt(tried, "declined", "authenticate did not say yes.", "")
        case wire.Raised() as raised:
            return _attempt(tried, "raised", sentence_of(raised), raised.traceback)
        case Stopped(kind=kind, detail=detail):
            return _attempt(tried, kind, detail, "")
        case _:
            assert_never(tried.result)


def sentence_of(raised: wire.Raised) -> str:
    """What a task raised, and where, in one line."""
    what = f"{raised.error}: {raised.message}" if raised.message else raised.error
    return f"{what} ({raised.place})" if raised.place else what


def _apply(tx: Transaction, tried: Tried, ended: wire.Ended, write_users: WriteUsers) -> None:
    job, name = tried.job, tried.declaration.name
    if ended.changes:
        who = f"the task {name} ({job.job_id})"
        change_sets.apply(tx, tried.app, ended.changes, write_users, who=who, now=tried.now)
    try:
        for new, task_id in _calls(ended.calls, tried.tasks):
            run_starts.call(
                tx,
                job.app_id,
                task_id,
                new.parameters,
                now=tried.now,
                due_at=max(new.due_at, tried.now),
                queue=new.queue,
                by=job.job_id,
                run_id=new.run_id,
            )
    except Conflict as error:
        raise ChangesRefused(error.message) from error


def _calls(
    calls: Sequence[NewCall], tasks: Mapping[str, tuple[str, Declaration]]
) -> list[tuple[NewCall, str]]:
    """The calls with the ids of the tasks. Raises ChangesRefused for what no call can be."""
    if len(calls) > CALLS_MAX:
        raise ChangesRefused(f"A run calls at most {CALLS_MAX:,} others.")
    found = []
    for call in calls:
        task_id, declaration = tasks.get(call.task, ("", None))
        if declaration is None or not isinstance(declaration.trigger, Called):
            raise ChangesRefused(f"There is no task {call.task!r} that can be called.")
        if not run_starts.RUN_ID.fullmatch(call.run_id):
            raise ChangesRefused(f"{call.run_id[:80]!r} is not the id of a run.")
        if call.queue and not run_starts.QUEUE_NAME.fullmatch(call.queue):
            raise ChangesRefused(f"{call.queue[:80]!r} is not the name of a queue.")
        if len(call.parameters) > PARAMETERS_BYTES_MAX or not _is_object(call.parameters):
            raise ChangesRefused(
                f"The parameters of a call of {call.task} are no JSON object of at most 1 MB."
            )
        found.append((call, task_id))
    return found


def _is_object(text: bytes) -> bool:
    try:
        _decode_object(text)
    except msgspec.DecodeError:
        return False
    return True


def _after_conflict(tried: Tried, sentence: str) -> tuple[Outcome, Attempt]:
    attempt = _attempt(tried, "conflict", sentence, "")
    unit = partial(note, tried=tried, attempt=attempt)
    # Who wants one attempt only gets no other one.
    schedule = AFTER_CONFLICT if tried.schedule.delays_ms else tried.schedule
    return Again(sentence, schedule=schedule, unit=unit), attempt


def refused(tried: Tried, sentence: str) -> tuple[Outcome, Attempt]:
    """What becomes of a run whose wishes cannot be had, whoever else does what."""
    attempt = _attempt(tried, "refused_changes", sentence, "")
    return Again(sentence, schedule=tried.schedule, unit=partial(note, tried=tried, attempt=attempt)), attempt


def note(tx: Transaction, tried: Tried, attempt: Attempt) -> None:
    """Writes the attempt, and what the run said in it."""
    attempts.note(tx, attempt, tried.job.subject)
    said = tried.spoken.said
    if attempt.outcome not in ("ok", "declined"):
        said = (*said, _line(tried, attempt))
    lines.note(tx, replace(tried.spoken, said=said))


def _line(tried: Tried, attempt: Attempt) -> NewLine:
    """What went wrong, among what the run has said."""
    fields = msgspec.json.encode({"outcome": attempt.outcome, "attempt": attempt.attempt}).decode()
    return NewLine(LAST_NUMBER, tried.now, "error", attempt.detail, fields)


def _attempt(tried: Tried, outcome: str, detail: str, reply: str) -> Attempt:
    return Attempt(
        app_id=tried.job.app_id,
        job_id=tried.job.job_id,
        attempt=tried.job.attempts,
        lane=tried.spoken.lane,
        started_at=tried.started_at,
        duration_ms=max(0, tried.now - tried.started_at),
        outcome=outcome,
        status=None,
        address="",
        detail=detail,
        reply=reply,
    )
