"""Work that callers have handed to the writer or to a reader, and how they are answered."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from sqlalchemy.exc import DBAPIError

from admit.errors import StorageUnavailable
from admit.storage.transaction import Overtaken, Signal, Transaction, too_slow

AWAY = "The database does not answer. Try again in a moment."
TOO_SLOW = "The database is too slow at present. Try again in a moment."
IN_THE_WAY = "Somebody else is changing the same. Try again in a moment."
STOPPING = "The server is stopping. Try again in a moment."
UNKNOWN = "The database was lost while it saved. Whether it did is not known: look before you try again."


class Fault(Enum):
    """What an error of the database means for the work that met it."""

    FINAL = auto()
    """The statement is wrong, or a constraint forbids it."""
    TOO_SLOW = auto()
    """The statement was interrupted."""
    TRY_AGAIN = auto()
    """Another transaction was in the way."""
    CANNOT_SAVE = auto()
    """The disk is full or fails."""
    READ_ONLY = auto()
    """This connection takes no changes, as that of a former primary."""
    CONNECTION_LOST = auto()


@dataclass(eq=False, slots=True)
class Work:
    """One caller's unit: alone (`unit(tx)`), or together with its like (`unit(tx, items)`)."""

    unit: Callable[..., Any]
    answer: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    together: bool = False
    item: Any = None
    at_once: bool = False
    since: float = field(default_factory=time.monotonic)
    result: Any = None
    error: Exception | None = None

    def is_wanted(self, seconds_max: float) -> bool:
        """Whether the caller still waits and has not waited too long; the latter is answered."""
        if self.answer.cancelled():
            return False
        if time.monotonic() - self.since > seconds_max:
            fail([self], TOO_SLOW)
            return False
        return True


@dataclass(frozen=True)
class Doubt:
    """A commit whose answer was lost. Until it is looked up, nobody knows whether it took place."""

    works: list[Work]
    rest: list[Work]
    signals: Sequence[Signal]


def run(tx: Transaction, group: Sequence[Work]) -> None:
    """Runs one unit for all its callers in `group`."""
    first = group[0]
    tx.begin_unit(len(group))
    if first.together:
        results = _call(first.unit, tx, [work.item for work in group])
        for work, result in zip(group, results, strict=True):
            work.result, work.error = result, None
    else:
        first.result, first.error = _call(first.unit, tx), None
    tx.check()


def meaning(error: Exception, fault_of: Callable[[DBAPIError], Fault]) -> Exception:
    """What a caller is told of `error`."""
    if isinstance(error, Overtaken):
        return StorageUnavailable(IN_THE_WAY)
    if not isinstance(error, DBAPIError):
        return error
    match fault_of(error):
        case Fault.TOO_SLOW:
            return too_slow()
        case Fault.TRY_AGAIN:
            return StorageUnavailable(IN_THE_WAY)
        case Fault.CANNOT_SAVE:
            return StorageUnavailable("The database cannot save: its disk is full or fails.")
        case Fault.READ_ONLY:
            return StorageUnavailable("The database takes no changes at present. Try again in a moment.")
        case Fault.CONNECTION_LOST:
            return StorageUnavailable(AWAY)
        case Fault.FINAL:
            return error


def name_of(error: Exception) -> str:
    """Class and SQLSTATE, for the log: the text of an error may quote what people have typed."""
    cause = (error.orig or error) if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    return f"{type(cause).__name__} {state}" if state else type(cause).__name__


def fail(works: Iterable[Work], sentence: str) -> None:
    """Tells each of `works` that the database is unavailable."""
    for work in works:
        answer_with(work, StorageUnavailable(sentence))


def answer_with(work: Work, error: Exception) -> None:
    """Raises `error` at the caller of `work`."""
    work.error = error
    answer([work])


def answer(works: Sequence[Work]) -> None:
    """Answers all callers with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Work]] = {}
    for work in works:
        by_loop.setdefault(work.loop, []).append(work)
    for loop, group in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_set_answers, group)


def _set_answers(works: list[Work]) -> None:
    for work in works:
        if work.answer.done():
            continue
        if work.error is None:
            work.answer.set_result(work.result)
        else:
            work.answer.set_exception(work.error)


def _call(unit: Callable[..., Any], *arguments: Any) -> Any:
    """Calls `unit`. What would end a thread, or what no future takes, becomes a RuntimeError."""
    try:
        return unit(*arguments)
    except StopIteration as error:
        raise RuntimeError("A unit of work raised StopIteration.") from error
    except Exception:
        raise
    except BaseException as error:
        raise RuntimeError(f"A unit of work raised {type(error).__name__}.") from error
