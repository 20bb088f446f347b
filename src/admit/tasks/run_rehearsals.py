"""Rehearsals: runs in test mode, which see what is there, and of which nothing is kept and nothing sent."""

import msgspec

from admit.jobs.lines import NewLine
from admit.task import wire
from admit.task.wire import Change, NewCall, Said
from admit.tasks.desk import Visit
from admit.tasks.workshop import Result


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What a run in test mode came to: what it said, and what it wanted.

    `blocked`: what it would have sent, as `GET https://…`.
    """

    result: Result
    lines: tuple[Said, ...]
    changes: tuple[Change, ...]
    calls: tuple[NewCall, ...]
    blocked: tuple[str, ...]


def rehearsal_of(result: Result, visit: Visit) -> Rehearsal:
    """What a run in test mode came to."""
    ended = result if isinstance(result, wire.Ended) else wire.Ended(result=b"")
    return Rehearsal(
        result=result,
        lines=tuple(map(_said, visit.lines)),
        changes=ended.changes,
        calls=ended.calls,
        blocked=tuple(visit.blocked),
    )


def _said(line: NewLine) -> Said:
    fields = msgspec.json.decode(line.fields) if line.fields else {}
    return Said(at=line.said_at, level=line.level, text=line.line, fields=fields)
