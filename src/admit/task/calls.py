"""Other runs that a run asks for. They are committed with its completion, so that each shall be once."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec

from admit.task.moments import ms_of
from admit.task.stage import Stage
from admit.task.wire import NewCall

CALLS_MAX = 1_000
PARAMETERS_BYTES_MAX = 1_000_000
AFTER_SECONDS_MAX = 366 * 86_400
TASK_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
QUEUE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


class Calls:
    """What the run has called so far. `read_only`: why nothing can be called, "" where it can."""

    __slots__ = ("_calls", "_read_only", "_run_id", "_stage")

    def __init__(self, stage: Stage, run_id: str, read_only: str = "") -> None:
        self._stage = stage
        self._run_id = run_id
        self._read_only = read_only
        self._calls: list[NewCall] = []

    @property
    def calls(self) -> tuple[NewCall, ...]:
        """The calls, in their order."""
        return tuple(self._calls)

    def add(
        self,
        task: str,
        parameters: Mapping[str, Any],
        after: timedelta | float | None,
        at: datetime | None,
        queue: str,
    ) -> str:
        """Takes down a call and returns the id of its run: the same at every attempt of this one."""
        if self._read_only:
            raise PermissionError(self._read_only)
        if len(self._calls) >= CALLS_MAX:
            raise ValueError(f"A run calls at most {CALLS_MAX:,} others.")
        if not TASK_NAME.fullmatch(task):
            raise ValueError(f"{task!r} is not the name of a task.")
        if queue and not QUEUE_NAME.fullmatch(queue):
            raise ValueError(f"A queue is named by small letters, digits and _.-, not {queue!r}.")
        call = NewCall(
            run_id=_run_id(self._run_id, len(self._calls) + 1),
            task=task,
            parameters=_encoded(parameters),
            due_at=self._due_at(after, at),
            queue=queue,
        )
        self._calls.append(call)
        return call.run_id

    def _due_at(self, after: timedelta | float | None, at: datetime | None) -> int:
        if at is not None:
            if after is not None:
                raise ValueError("A call is due after some time, or at a time, not both.")
            return ms_of(at)
        seconds = after.total_seconds() if isinstance(after, timedelta) else after or 0.0
        if not 0 <= seconds <= AFTER_SECONDS_MAX:
            raise ValueError("after is a time of 0 seconds to a year.")
        return self._stage.now() + round(seconds * 1_000)


def _run_id(run_id: str, number: int) -> str:
    return "run_" + sha256(f"{run_id}.{number}".encode()).hexdigest()[:40]


def _encoded(parameters: Mapping[str, Any]) -> bytes:
    if not isinstance(parameters, Mapping):
        raise ValueError(f"Parameters are a mapping, not {type(parameters).__name__}.")
    try:
        encoded = msgspec.json.encode(dict(parameters))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The parameters cannot be written as JSON: {error}") from None
    if len(encoded) > PARAMETERS_BYTES_MAX:
        raise ValueError(f"The parameters have {len(encoded)} bytes; {PARAMETERS_BYTES_MAX} are allowed.")
    return encoded
