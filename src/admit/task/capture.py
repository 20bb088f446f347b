"""Makes lines of a run's log of what is printed, and of what Python's logging is told."""

import io
import sys
import threading
import weakref
from typing import Any

from admit.task.log import Log
from admit.task.wire import Level

LINE_CHARACTERS_KEPT = 64_000
"""Of a line that does not end, so much is kept until it does."""


class Current:
    """The run that is under way, for those who are not told: print() and logging.

    A thread that an earlier run has left behind has none.
    """

    def __init__(self) -> None:
        self._log: Log | None = None
        self._of_earlier_runs: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    @property
    def log(self) -> Log | None:
        """The log that this thread speaks to; None where there is no run, or it is none of it."""
        if threading.current_thread() in self._of_earlier_runs:
            return None
        return self._log

    def begin(self, log: Log) -> None:
        """From now on it is this one."""
        if threading.active_count() > 1:
            main = threading.main_thread()
            self._of_earlier_runs.update(each for each in threading.enumerate() if each is not main)
        self._log = log

    def end(self) -> None:
        """From now on there is none."""
        self._log = None


class Printed(io.TextIOBase):
    """Stands in for a stream: each line is one of the log, and what belongs to no run goes `elsewhere`."""

    def __init__(self, current: Current, level: Level, elsewhere: Any) -> None:
        self._current = current
        self._level: Level = level
        self._elsewhere = elsewhere
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        log = self._current.log
        if log is None:
            self._elsewhere.write(text)
            return len(text)
        if "\n" not in text:
            self._begun = (self._begun + text)[:LINE_CHARACTERS_KEPT]
            return len(text)
        *lines, begun = text.split("\n")
        lines[0] = self._begun + lines[0]
        self._begun = begun[:LINE_CHARACTERS_KEPT]
        for line in lines:
            if line.strip():
                log.say(self._level, line.rstrip("\r"), {})
        return len(text)

    def flush(self) -> None:
        if self._current.log is None:
            self._elsewhere.flush()

    def end(self) -> None:
        """Says what was printed without the end of a line."""
        begun, self._begun = self._begun, ""
        if begun.strip() and (log := self._current.log) is not None:
            log.say(self._level, begun, {})


class Capture:
    """print() and sys.stderr of this process, and logging where the code has imported it."""

    def __init__(self) -> None:
        self.current = Current()
        self._out = Printed(self.current, "info", sys.stderr)
        self._err = Printed(self.current, "error", sys.stderr)
        sys.stdout, sys.stderr = self._out, self._err
        self._takes_logging = False

    def begin(self, log: Log) -> None:
        """What is printed from now on belongs to this run."""
        if not self._takes_logging and "logging" in sys.modules:
            from admit.task.records import Records

            Records.install(self.current)
            self._takes_logging = True
        sys.stdout, sys.stderr = self._out, self._err  # an earlier run may have replaced them
        self.current.begin(log)

    def end(self) -> None:
        """The run is over: what is printed from now on belongs to none."""
        self._out.end()
        self._err.end()
        self.current.end()
