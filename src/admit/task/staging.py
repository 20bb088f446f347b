"""Makes the context of a run out of what the server has sent, or a test has made up."""

from typing import Any, Literal, assert_never, cast

import msgspec

from admit.task.calls import Calls
from admit.task.contexts import (
    AppName,
    CallContext,
    Context,
    DecisionContext,
    Effects,
    EventContext,
    Happened,
    Origin,
    RequestContext,
    ScheduleContext,
    ThisRun,
)
from admit.task.db import Db
from admit.task.environment import Env, Masking
from admit.task.event_parts import EventData
from admit.task.fetching import Http
from admit.task.headers import Headers
from admit.task.log import Log
from admit.task.moments import moment_of
from admit.task.object_snapshot import ObjectSnapshot
from admit.task.payloads import Call, Decision, Event, Request, Schedule
from admit.task.pending import Pending
from admit.task.snapshot import Snapshot
from admit.task.stage import Stage
from admit.task.wire import Begin

READ_ONLY = "A decision task cannot change the app: it is asked before there is anybody. Use @task.on(…)."

_EVENT_DATA = msgspec.json.Decoder(EventData)


def context_of(begin: Begin, stage: Stage, masking: Masking, declared: tuple[str, ...] = ()) -> Context:
    """The context of the run. `declared`: the variables that the task has asked for."""
    payload = begin.payload
    around = _around(begin, stage, masking, declared)
    match payload:
        case Decision():
            return DecisionContext(
                admission_id=payload.admission_id,
                user_id=payload.user_id,
                email=payload.email,
                email_verified=payload.email_verified,
                name=payload.name,
                sign_in=payload.sign_in,
                device=payload.device,
                claims=payload.claims,
                request=Origin(address=payload.address),
                **around,
            )
        case Event():
            return EventContext(
                event=Happened(
                    id=payload.event_id,
                    type=payload.type,
                    sequence=payload.sequence,
                    occurred_at=moment_of(payload.occurred_at),
                ),
                told=_EVENT_DATA.decode(payload.data),
                body=payload.data,
                **around,
            )
        case Schedule():
            return ScheduleContext(scheduled_at=moment_of(payload.scheduled_at), **around)
        case Request():
            return RequestContext(
                method=cast(Literal["GET", "POST", "PUT", "PATCH", "DELETE"], payload.method),
                path=payload.path,
                query=dict(payload.query),
                query_pairs=payload.query,
                headers=Headers(payload.headers),
                body=payload.body,
                address=payload.address,
                caller=payload.caller,
                **around,
            )
        case Call():
            parameters = msgspec.json.decode(payload.parameters)
            return CallContext(parameters=parameters, by=payload.by, **around)
        case _:
            assert_never(payload)


def _around(begin: Begin, stage: Stage, masking: Masking, declared: tuple[str, ...]) -> dict[str, Any]:
    """What the contexts of all kinds have in common."""
    run = begin.run
    read_only = READ_ONLY if isinstance(begin.payload, Decision) else ""
    pending = Pending(read_only)
    return {
        "app": AppName(id=run.app_id, name=run.app),
        "run": ThisRun(id=run.run_id, attempt=run.attempt, now=moment_of(run.now), test=run.test),
        "env": Env(begin.env, declared),
        "log": Log(stage, masking),
        "http": Http(stage, run.run_id),
        "db": Db(Snapshot(stage, pending), ObjectSnapshot(stage, pending)),
        "effects": Effects(pending, Calls(stage, run.run_id, read_only)),
    }
