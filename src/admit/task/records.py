"""Python's logging, where a task uses it: its records become lines of the run's log."""

import logging

from admit.task.capture import Current
from admit.task.wire import Level


class Records(logging.Handler):
    """Hands records, with their traceback, to the log of the run that is under way."""

    def __init__(self, current: Current) -> None:
        super().__init__()
        self._current = current

    @classmethod
    def install(cls, current: Current) -> None:
        """Takes the place of what would print them, unless the code has handlers of its own."""
        root = logging.getLogger()
        if root.handlers:
            return
        root.addHandler(cls(current))
        if root.level == logging.WARNING:
            root.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        log = self._current.log
        if log is not None:
            log.say(_level_of(record.levelno), self.format(record), {"logger": record.name})


def _level_of(number: int) -> Level:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"
