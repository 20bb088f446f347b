"""One run of a task: from its context to what becomes of it."""

import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from admit.task.contexts import Context, DecisionContext, RequestContext
from admit.task.decorators import Mark
from admit.task.environment import Masking
from admit.task.log import text_of
from admit.task.responses import BadRequest, refusal_of, response_of
from admit.task.verdicts import Admitted, Refused
from admit.task.wire import Declined, Ended, Raised

RESULT_BYTES_MAX = 1_000_000
EFFECTS_BYTES_MAX = 8_000_000
MESSAGE_CHARACTERS_MAX = 2_000
TRACEBACK_CHARACTERS_MAX = 20_000
TRACEBACK_FRAMES_MAX = 50
_KIT = __file__.rpartition("/")[0]

Result = Ended | Declined | Raised


def run(task: Callable[[Any], object], context: Context) -> Ended:
    """Runs the task and says what it has returned, written and called. What it raises is not caught."""
    try:
        returned = task(context)
        result = _result_of(returned, context)
    except BadRequest as error:
        if not isinstance(context, RequestContext):
            raise
        return Ended(result=msgspec.json.encode(refusal_of(error)))
    if len(result) > RESULT_BYTES_MAX:
        raise ValueError(f"The result has {len(result)} bytes; {RESULT_BYTES_MAX} are allowed.")
    ended = Ended(result=result, changes=context.changes, calls=context.calls)
    if (size := len(msgspec.msgpack.encode(ended)) - len(result)) > EFFECTS_BYTES_MAX:
        raise ValueError(f"What it writes and calls has {size} bytes; {EFFECTS_BYTES_MAX} are allowed.")
    return ended


def authenticate(mark: Mark, context: Context) -> Ended | Declined:
    """Asks whether a request may come in. Nothing but True lets it."""
    said = None if mark.authenticate is None else mark.authenticate(context)  # type: ignore[arg-type]
    if said is True:
        return Ended(result=b"null")
    if said:
        context.log.warning(f"authenticate returned {type(said).__name__}, not True, so the answer is 401.")
    return Declined()


def raised(error: BaseException, masking: Masking, folder: str) -> Raised:
    """What is told of an exception: the frames from the first in `folder` on, but for those of the kit.

    Frees what the frames have held.
    """
    told = traceback.TracebackException.from_exception(error, compact=True)
    _let_go(error)
    own = [at for at, frame in enumerate(told.stack) if _is_inside(frame.filename, folder)]
    place = told.stack[own[-1]] if own else None
    after = told.stack[own[0] :] if own else []
    shown = [frame for frame in after if not _is_inside(frame.filename, _KIT)][-TRACEBACK_FRAMES_MAX:]
    told.stack = traceback.StackSummary.from_list(shown)
    return Raised(
        error=type(error).__name__,
        message=masking.masked(text_of(error), MESSAGE_CHARACTERS_MAX),
        place="" if place is None else f"{relative(place.filename, folder)}:{place.lineno}",
        traceback=masking.masked(text_of("".join(told.format())), TRACEBACK_CHARACTERS_MAX),
    )


def relative(filename: str, folder: str) -> str:
    """The path of a file below `folder`."""
    return filename[len(folder) :].lstrip("/") if _is_inside(filename, folder) else filename


def _result_of(returned: object, context: Context) -> bytes:
    if isinstance(context, RequestContext):
        return msgspec.json.encode(response_of(returned))
    if isinstance(context, DecisionContext):
        if not isinstance(returned, Admitted | Refused):
            told = "nothing" if returned is None else type(returned).__name__
            raise TypeError(f"A decision returns task.admit(…) or task.refuse(…); this one returned {told}.")
        return msgspec.json.encode(returned)
    try:
        return msgspec.json.encode(returned)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"What it returned cannot be written as JSON: {error}") from None


def _let_go(error: BaseException) -> None:
    """Clears the frames of `error` and of what led to it: they may hold all the memory there is."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        waiting += (each.__cause__, each.__context__)


def _is_inside(filename: str, folder: str) -> bool:
    return filename.startswith(f"{folder.rstrip('/')}/")
