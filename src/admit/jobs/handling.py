"""Handling: what a kind of job needs, what its handler may say of one, and what becomes of the job then."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

import msgspec

from admit.clock import jitter
from admit.jobs.pace import Pace, Steady
from admit.jobs.queue import Job, Settlement
from admit.jobs.retry import STANDARD, Schedule, delay_ms
from admit.jobs.rota import Shift, any_lane
from admit.storage.transaction import Transaction, Unit

LEASE_MARGIN_MS = 15_000
LEASE_MS_MAX = 75_000
"""Whoever needs longer has it renewed (`jobs.leases`): what a dead worker had is not to wait for minutes."""


class Done(msgspec.Struct, frozen=True):
    """The work is done. `unit` is committed with the settlement; it must be safe to run again."""

    detail: str = ""
    erase_payload: bool = False
    unit: Unit[Any] | None = None


class Again(msgspec.Struct, frozen=True):
    """It did not work out this time. The schedule (None: that of the line) says when to try again, or that
    this was the last time; `at_least_ms`: but not before.

    `rest_ms`: how long the lane shall begin nothing. `unit` as in Done.
    """

    detail: str
    at_least_ms: int = 0
    rest_ms: int = 0
    schedule: Schedule | None = None
    unit: Unit[Any] | None = None


class Later(msgspec.Struct, frozen=True):
    """It was not begun, and may be in `after_ms`; that does not count as an attempt."""

    detail: str
    after_ms: int


class GiveUp(msgspec.Struct, frozen=True):
    """It will never work out. The payload is erased: nobody will need it any more. `unit` as in Done."""

    detail: str
    unit: Unit[Any] | None = None


Outcome = Done | Again | Later | GiveUp
Handler = Callable[[Any], Awaitable[Outcome]]
"""Gets what the line has loaded for a job: the Job itself, where it loads nothing else."""


class Instead(Exception):
    """Raised by the unit of an outcome that cannot be committed: `outcome` is settled in its place."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome


def _themselves(_tx: Transaction, claimed: list[Job]) -> Sequence[Any]:
    return claimed


@dataclass(frozen=True)
class Line:
    """How jobs of one kind are worked off: `at_once` of them over all lanes, each lane at its `pace`, each
    job for `seconds_max` at most.

    `load` reads what the handler needs for each claimed job, in list form, in the transaction of the claim.
    `attempts_max` is that of the longest schedule that the handler may name; None: there is only `schedule`.
    `serves` says in which lanes this process may begin something; the others are left to other processes.
    `keeps_payloads`: also of those that have failed, for whoever asks for another try. `tells_details`: the
    sentences of outcomes may stand in the server's log, since they never quote what is about a person.
    """

    handler: Handler
    schedule: Schedule = STANDARD
    seconds_max: float = 60.0
    at_once: int = 16
    pace: Callable[[str], Pace] | None = None
    load: Callable[[Transaction, list[Job]], Sequence[Any]] = _themselves
    attempts_max: int | None = None
    serves: Callable[[str], bool] = any_lane
    keeps_payloads: bool = False
    tells_details: bool = True

    @property
    def begun_max(self) -> int:
        """How often a job may be begun that never comes to an end, because it takes its worker with it."""
        return self.attempts_max or self.schedule.attempts_max

    @property
    def shift(self) -> Shift:
        lease_ms = min(round(self.seconds_max * 1_000) + LEASE_MARGIN_MS, LEASE_MS_MAX)
        return Shift(self.at_once, lease_ms, self.pace or (lambda _lane: Steady(self.at_once)), self.serves)


def settlement_of(job: Job, line: Line, outcome: Outcome | None, now: int) -> Settlement:
    """What becomes of a job of `line`. None: its handler was interrupted because the worker stops."""
    settled = partial(Settlement, job=job, now=now)
    erase = not line.keeps_payloads
    match outcome:
        case None:
            return settled(state="waiting", detail="The worker stopped.", due_at=now, forgiven=True)
        case Done(detail, erase_payload, unit):
            return settled(state="done", detail=detail, erase_payload=erase_payload, unit=unit)
        case GiveUp(detail, unit):
            return settled(state="dead", detail=detail, erase_payload=erase, unit=unit)
        case Later(detail, after_ms):
            return settled(state="waiting", detail=detail, due_at=now + after_ms, forgiven=True)
        case Again(detail, at_least_ms, _, schedule, unit):
            pause_ms = delay_ms(schedule or line.schedule, job.tries, jitter(1.0) - 0.5)
            if pause_ms is None:
                return settled(state="dead", detail=detail, erase_payload=erase, unit=unit)
            due_at = now + max(pause_ms, at_least_ms)
            return settled(state="waiting", detail=detail, due_at=due_at, unit=unit)
    assert_never(outcome)
