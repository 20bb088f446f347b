"""Why a run came to no end of its own. Pure; the sentences are for the operator."""

import os
import re
import signal
from collections.abc import Mapping
from typing import Literal

import msgspec

from admit.task.nursery import Exited

SECRET_CHARACTERS_MIN = 4
WORDS_MAX = 400
FRAME = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+) in (?P<function>[^\n]+)$', re.MULTILINE)
"""As faulthandler writes them, the innermost first."""
FAULT = re.compile(r"(Fatal Python error|Current thread|Thread 0x|Extension modules|  File |  \.\.\.)")
NO_MEMORY = re.compile(r"MemoryError|bad_alloc|[Oo]ut of memory|[Cc]annot allocate memory")


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """`detail` is a sentence, with the place in the code where it is known.

    busy: there was no process for it within its time. broken: the code could not be loaded in a new process.
    After both nothing was begun.
    """

    kind: Literal["timeout", "memory", "crashed", "stopped", "busy", "broken"]
    detail: str


def timed_out(seconds: float, place: str) -> Stopped:
    """It has used up its time."""
    return Stopped(kind="timeout", detail=f"It was still running after {seconds:.3g} s{_at(place)}.")


def out_of_memory(memory_bytes: int, place: str) -> Stopped:
    """It asked for more than it may have."""
    detail = f"It needed more than the {memory_bytes // 1_000_000} MB that a task may have{_at(place)}."
    return Stopped(kind="memory", detail=detail)


def of_exit(exited: Exited, output: str, folder: str, memory_bytes: int) -> Stopped:
    """What can be known of a process that has died by itself. `output` is the end of its standard error."""
    if exited.error:
        return Stopped(kind="crashed", detail=exited.error)
    place = place_in(output, folder)
    if NO_MEMORY.search(output):
        return out_of_memory(memory_bytes, place)
    if os.WIFSIGNALED(exited.status):
        number = os.WTERMSIG(exited.status)
        how = f"Its process was ended by {_signal_name(number)}"
        if number == signal.SIGKILL:
            how += " from outside, as happens when the machine has no memory left"
    else:
        how = f"Its process has ended itself, with status {os.waitstatus_to_exitcode(exited.status)}"
    words = _last_words(output)
    return Stopped(kind="crashed", detail=f"{how}{_at(place)}." + (f" It wrote: {words}" if words else ""))


def place_in(output: str, folder: str) -> str:
    """Where the operator's code stood by the last report of faulthandler in `output`; "" if none says it."""
    inside = folder.rstrip("/") + "/"
    for found in FRAME.finditer(output, max(0, output.rfind("Current thread"))):
        if found["file"].startswith(inside):
            return f"{found['file'].removeprefix(inside)}:{found['line']} in {found['function']}"
    return ""


def without_secrets(stopped: Stopped, env: Mapping[str, str]) -> Stopped:
    """The same without the values of variables, as far as they are long enough to be known again."""
    detail = stopped.detail
    for value in sorted(env.values(), key=len, reverse=True):
        if len(value) >= SECRET_CHARACTERS_MIN:
            detail = detail.replace(value, "***")
    return Stopped(kind=stopped.kind, detail=detail)


def _at(place: str) -> str:
    return f", at {place}" if place else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(output: str) -> str:
    """The end of what it wrote, without the reports of faulthandler, in one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and not FAULT.match(line)]
    return "".join(each if each.isprintable() else "\ufffd" for each in " / ".join(lines))[-WORDS_MAX:]
