"""What runs are about, as their jobs carry it, and what is read for those that are claimed."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec.structs import replace

from admit.accounts.apps import App
from admit.data import hook_subscriptions, journey_payload, models
from admit.events import log
from admit.events.hook_filters import OfHook
from admit.events.log import Recorded
from admit.jobs import links, queue
from admit.jobs.links import Link
from admit.jobs.queue import Job
from admit.storage.transaction import Transaction
from admit.task.payloads import Call, Event, Payload, Schedule
from admit.tasks import schedules


class OwedCall(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="call"):
    """A task was called. `parameters` is a JSON object; `by`: by whom, a run or an actor."""

    task_id: str
    parameters: msgspec.Raw
    by: str = ""


class OwedEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="event"):
    """Somebody asks for a run about the event at the position `sequence`."""

    task_id: str
    sequence: int
    by: str = ""


class OwedRequest(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="request"):
    """A request was answered at once. `digest`: of what was asked under an idempotency key, "" without one;
    `answer` is what came of it then, as `wire.Ended` has it, "" where that is not kept."""

    task_id: str
    method: str = ""
    path: str = ""
    digest: str = ""
    answer: str = ""


class OwedDecision(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="decision"):
    """A person at the door was decided about."""

    task_id: str


class OwedHook(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="hook"):
    """A web hook of the data model has fired, for the event of the job, and this is its task."""

    hook: str

    @property
    def by(self) -> str:
        """Who calls the task."""
        return f"hook:{self.hook}"


Owed = OwedCall | OwedEvent | OwedRequest | OwedDecision | OwedHook | Schedule


class Owing(msgspec.Struct, frozen=True):
    """A claimed run. `owed` is None where the job itself says that it is about `event`; that is None where it
    is no longer kept. `erased`: what it was about is gone. `hook`: that of an OwedHook; None: the data model
    does not have it any more."""

    job: Job
    owed: Owed | None
    event: Recorded | None
    erased: bool = False
    hook: OfHook | None = None

    @property
    def task_id(self) -> str:
        """Whose run it is: that of its lane, but in a named queue."""
        return self.job.lane if self.owed is None else task_of(self.owed, self.job.lane)


class _Part(msgspec.Struct, frozen=True):
    id: str = ""
    identifier: str = ""
    admission_id: str = ""


class _Parts(msgspec.Struct, frozen=True):
    """What an event may be about, besides the person."""

    device: _Part = _Part()
    session: _Part = _Part()
    verdict: _Part = _Part()


_decode_owed = msgspec.json.Decoder(Owed).decode
_decode_parts = msgspec.json.Decoder(_Parts).decode


@cache
def _written(of: type[Any]) -> str:
    return str(of.__struct_config__.tag)


def encode(owed: Owed) -> str:
    """The payload of the job."""
    return msgspec.json.encode(owed).decode()


def decode(payload: str) -> Owed | None:
    """What a payload says; None for that of an event's own run, and for one that is erased."""
    return _decode_owed(payload) if payload else None


def kind_of(owed: Owed | None) -> str:
    """The word for what a run is about."""
    return "event" if owed is None or isinstance(owed, OwedHook) else _written(type(owed))


def task_of(owed: Owed, lane: str) -> str:
    """Whose run it is. One by the clock, or of a web hook, is in its task's own lane."""
    return lane if isinstance(owed, Schedule | OwedHook) else owed.task_id


def load(tx: Transaction, claimed: list[Job], now: int) -> Sequence[Owing]:
    """What claimed runs are about. Those that begin for the first time are linked to it, and what comes after
    those by the clock is planned. One that was asked for is the person's of its event from then on."""
    schedules.follow(tx, claimed, now)
    found = [(job, decode(job.payload)) for job in claimed]
    keys = [(job.app_id, place) for job, owed in found if (place := _place_of(job, owed))]
    events = log.find_each(tx, keys)
    hooks = _hooks(tx, found)
    owing = []
    whose = []
    for job, owed in found:
        event = events.get((job.app_id, _place_of(job, owed)))
        if event is not None and event.uid is not None and job.subject is None:
            whose.append((job, event.uid))
            job = replace(job, subject=event.uid)
        erased = owed is None and not job.sequence
        hook = hooks.get((job.app_id, owed.hook)) if isinstance(owed, OwedHook) else None
        owing.append(Owing(job, owed, event, erased, hook))
    queue.say_whose(tx, whose)
    links.add(
        tx,
        [
            Link(each.job.app_id, about, each.job.created_at, each.job.job_id)
            for each in owing
            if each.event is not None and each.job.attempts == 1
            for about in abouts_of(each.event)
        ],
    )
    return owing


def payload_of(event: Recorded) -> Event:
    """What a task is given of an event."""
    return Event(
        event_id=event.event_id,
        sequence=event.position,
        type=event.type,
        occurred_at=event.occurred_at,
        data=bytes(event.data),
    )


def payload(owing: Owing, app: App, server: str) -> Payload | str:
    """What the task is given; else a sentence that says why the run cannot be."""
    match owing.owed:
        case Schedule() as schedule:
            return schedule
        case OwedCall(parameters=parameters, by=by):
            return Call(parameters=bytes(parameters), by=by)
        case OwedHook(hook=name, by=by):
            if owing.hook is None:
                return f"The data model no longer starts this task by the web hook {name}."
            if owing.event is None:
                return "The event is no longer kept."
            told = journey_payload.payload(
                owing.event, owing.hook, server=server, app=app.name, app_id=app.app_id
            )
            return Call(parameters=told, by=by)
        case OwedRequest() | OwedDecision():
            return "The server stopped while it ran. What somebody waits for is not repeated."
        case OwedEvent() | None:
            if owing.event is None:
                return (
                    "What it was about is no longer kept." if owing.erased else "The event is no longer kept."
                )
            return payload_of(owing.event)


def abouts_of(event: Recorded) -> list[str]:
    """What a run about an event is found by."""
    parts = _decode_parts(bytes(event.data))
    device = f"device:{parts.device.identifier}" if parts.device.identifier else ""
    found = (event.event_id, parts.verdict.admission_id, parts.session.id, device)
    return [each for each in found if each]


def _hooks(tx: Transaction, found: Iterable[tuple[Job, Owed | None]]) -> dict[tuple[str, str], OfHook]:
    """The hooks of data models that start a task, by app and name, where a run is owed to one."""
    known = {}
    for app_id in sorted({job.app_id for job, owed in found if isinstance(owed, OwedHook)}):
        if (stored := models.find(tx, app_id)) is not None:
            for _, hook in stored.model.hooks():
                if hook.task:
                    known[app_id, hook.name] = hook_subscriptions.told_of(stored.model, hook.name).hook
    return known


def _place_of(job: Job, owed: Owed | None) -> int:
    return owed.sequence if isinstance(owed, OwedEvent) else job.sequence
