"""Who is there for a run: for one in a worker process the server, for one in a test an app in memory."""

from typing import Any, Protocol

from admit.task.wire import Question, Said


class NotAnswered(RuntimeError):
    """What a task asked of the server could not be had. Its text is the sentence that tells why."""


class Stage(Protocol):
    """Who is there for one run."""

    def ask(self, question: Question) -> Any:
        """The answer to `question`. Raises NotAnswered."""
        ...

    def say(self, line: Said) -> None:
        """Takes down a line of the run's log."""
        ...

    def now(self) -> int:
        """The time in UTC milliseconds."""
        ...
