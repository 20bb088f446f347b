"""Lines: what jobs have said while they were at work, in the order in which it was committed.

A job says its first lines while it goes on, so that somebody can watch, and the rest with its settlement.
Whoever goes on behind the last position they were given never misses a line.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Integer, Select, bindparam, delete, literal_column, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from admit.jobs.queue import HELD, Job, storable
from admit.jobs.tables import jobs, line_heads, lines
from admit.storage.rows import Insertion
from admit.storage.transaction import Finisher, Transaction

TOPIC = "lines"
"""Of the signal that an app, its key, has new lines."""
PAGE_MAX = 500
SCANNED_MAX = 5_000
LINE_CHARACTERS_MAX = 8_000
FIELDS_CHARACTERS_MAX = 8_000

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")

_head = insert(line_heads)
TAKE_POSITIONS = _head.on_conflict_do_update(
    index_elements=["app_id"], set_={"position": line_heads.c.position + _head.excluded.position}
).returning(line_heads.c.position)
HEAD = select(line_heads.c.position).where(line_heads.c.app_id == bindparam("app"))
ADD_LINES = Insertion(insert(lines).on_conflict_do_nothing())

_MOST = bindparam("most", type_=Integer, literal_execute=True)
_BEHIND = (lines.c.app_id == bindparam("app"), lines.c.position > bindparam("after"))
_SHOWN = (
    lines.c.position,
    lines.c.job_id,
    lines.c.lane,
    lines.c.attempt,
    lines.c.said_at,
    lines.c.level,
    lines.c.line,
    lines.c.fields,
)


def _walk(*which: ColumnElement[bool]) -> Select[Any]:
    return select(*_SHOWN).where(*_BEHIND, *which).order_by(lines.c.position).limit(_MOST)


OF_APP = _walk()
OF_LANE = _walk(lines.c.lane == bindparam("of_lane"))
# In the order of the positions, but by the index of the job: by positions, which are an expression here lest
# a planner goes by them, all lines of the app would be looked at.
_in_job = (lines.c.fence, lines.c.number)
OF_JOB = (
    select(*_SHOWN)
    .where(
        lines.c.app_id == bindparam("app"),
        lines.c.job_id == bindparam("of_job"),
        lines.c.position + literal_column("0") > bindparam("after"),
    )
    .order_by(*_in_job)
    .limit(_MOST)
)
LAST_OF_APP, LAST_OF_LANE = (
    each.order_by(None).order_by(lines.c.position.desc()) for each in (OF_APP, OF_LANE)
)
LAST_OF_JOB = OF_JOB.order_by(None).order_by(*(column.desc() for column in _in_job))
_OF_PERSON = (
    select(lines.c.app_id, lines.c.position)
    .select_from(lines.join(jobs, (jobs.c.app_id == lines.c.app_id) & (jobs.c.job_id == lines.c.job_id)))
    .where(jobs.c.app_id == bindparam("app"), jobs.c.subject == bindparam("of_subject"))
    .limit(_MOST)
)
ERASE = delete(lines).where(tuple_(lines.c.app_id, lines.c.position).in_(_OF_PERSON))


class NewLine(msgspec.Struct, frozen=True):
    """What a job has said. `number` counts the lines of one claim from 1; `fields` is JSON, "" for none."""

    number: int
    said_at: int
    level: Level
    line: str
    fields: str


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """What a claimed job has said, and in which lane it is shown."""

    job: Job
    lane: str
    said: tuple[NewLine, ...]


class KeptLine(msgspec.Struct, frozen=True):
    """A line at its place in the order of its app. `fields` is JSON, "" where there are none."""

    position: int
    job_id: str
    lane: str
    attempt: int
    said_at: int
    level: Level
    line: str
    fields: str


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines: those of a lane or of a job, of a level or a worse one, in which `text` stands (whatever
    its case); "" means any. Those behind the position `after`."""

    after: int = 0
    lane: str = ""
    job_id: str = ""
    level: Level | Literal[""] = ""
    text: str = ""
    limit: int = PAGE_MAX


class LinesPage(msgspec.Struct, frozen=True):
    """Some lines, the oldest first. `after`: what to ask for next; `more`: there is something to look at.

    A page may be short, or empty, and have more behind it, where few fit.
    """

    lines: list[KeptLine]
    after: int
    more: bool


@dataclass
class _Noted:
    """Lines on their way into the transaction; none of them once their person is deleted in it."""

    spoken: Spoken
    erased: bool = False


def note(tx: Transaction, spoken: Spoken) -> None:
    """Writes lines of a job with this transaction, which settles it."""
    if spoken.said:
        tx.defer(_NOTE, _Noted(spoken))


def say(tx: Transaction, items: list[Spoken]) -> list[bool]:
    """Writes lines of jobs that go on. False: it is no longer this claim's to say anything. List form."""
    keys = [(item.job.app_id, item.job.job_id) for item in items]
    held = {(row.app_id, row.job_id): row.fence for row in HELD.rows(tx, keys)}
    mine = [held.get(key) == item.job.fence for key, item in zip(keys, items, strict=True)]
    for item, is_mine in zip(items, mine, strict=True):
        if is_mine:
            note(tx, item)
    return mine


def page(tx: Transaction, app_id: str, query: Query) -> LinesPage:
    """The next lines that `query` asks for. Looks at SCANNED_MAX of them at most."""
    rows, most = _rows(tx, app_id, query, (OF_APP, OF_LANE, OF_JOB))
    found: list[KeptLine] = []
    after = query.after
    for row in rows[:most]:
        after = row.position
        if _fits(row, query):
            found.append(KeptLine(*tuple(row)))
            if len(found) == min(query.limit, PAGE_MAX):
                break
    return LinesPage(found, after, bool(rows) and rows[-1].position > after)


def last(tx: Transaction, app_id: str, query: Query) -> LinesPage:
    """The newest lines that `query` asks for, the oldest of them first. `after` leads on behind them."""
    rows, most = _rows(tx, app_id, query, (LAST_OF_APP, LAST_OF_LANE, LAST_OF_JOB))
    found = [KeptLine(*tuple(row)) for row in rows[:most] if _fits(row, query)]
    after = rows[0].position if rows else query.after
    return LinesPage(found[: min(query.limit, PAGE_MAX)][::-1], after, more=False)


def newest(tx: Transaction, app_id: str) -> int:
    """The position of the newest line of an app; 0: there has never been one."""
    position: int | None = tx.execute(HEAD, {"app": app_id}).scalar_one_or_none()
    return position or 0


def erase(tx: Transaction, app_id: str, subject: str, most: int) -> int:
    """Deletes what jobs of a subject have said, `most` lines at once; says how many there were."""
    for noted in tx.deferred(_NOTE):
        job = noted.spoken.job
        noted.erased |= (job.app_id, job.subject) == (app_id, subject)
    return tx.execute(ERASE, {"app": app_id, "of_subject": subject, "most": most}).rowcount


def _rows(
    tx: Transaction, app_id: str, query: Query, walks: tuple[Select[Any], Select[Any], Select[Any]]
) -> tuple[Sequence[Any], int]:
    """Lines to choose from, one more than are looked at; and how many that are."""
    of_app, of_lane, of_job = walks
    most = SCANNED_MAX if query.level or query.text else min(query.limit, PAGE_MAX)
    which = {"app": app_id, "after": query.after, "most": most + 1}
    if query.job_id:
        return tx.execute(of_job, which | {"of_job": query.job_id}).all(), most
    if query.lane:
        return tx.execute(of_lane, which | {"of_lane": query.lane}).all(), most
    return tx.execute(of_app, which).all(), most


def _fits(row: Any, query: Query) -> bool:
    if query.level and LEVELS.index(row.level) < LEVELS.index(query.level):
        return False
    if not query.text:
        return True
    wanted = query.text.casefold()
    return wanted in row.line.casefold() or wanted in row.fields.casefold()


def _note(tx: Transaction, noted: list[_Noted]) -> None:
    by_app: defaultdict[str, list[Spoken]] = defaultdict(list)
    for each in noted:
        if not each.erased:
            by_app[each.spoken.job.app_id].append(each.spoken)
    rows: list[tuple[object, ...]] = []
    for app_id in sorted(by_app):
        count = sum(len(each.said) for each in by_app[app_id])
        last = tx.execute(TAKE_POSITIONS, {"app_id": app_id, "position": count}).scalar_one()
        told = ((spoken, line) for spoken in by_app[app_id] for line in spoken.said)
        rows += (_row(position, *each) for position, each in enumerate(told, last - count + 1))
        tx.signal(TOPIC, app_id)
    tx.write(ADD_LINES, rows)


def _row(position: int, spoken: Spoken, line: NewLine) -> tuple[object, ...]:
    """In the order of the columns."""
    job = spoken.job
    return (
        job.app_id,
        position,
        job.job_id,
        spoken.lane,
        job.attempts,
        job.fence,
        line.number,
        line.said_at,
        line.level,
        storable(line.line, LINE_CHARACTERS_MAX),
        line.fields if len(line.fields) <= FIELDS_CHARACTERS_MAX else "",
    )


# Behind the events, whose rows are the hotter ones.
_NOTE = Finisher(rank=105, run=_note)
