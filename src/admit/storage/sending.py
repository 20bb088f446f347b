"""The writer's connection to PostgreSQL: it sends without asking the kernel first whether it may.

In a pipeline psycopg polls the socket twice for every statement that it queues. Whoever polls lets go of the
interpreter and has it back when the event loop pauses: that took half of the time of a commit.
"""

from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

T = TypeVar("T")

Steps = Generator[Any, Any, T]


class SendingConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits only for answers, and for room where the kernel takes no more."""

    def wait(self, gen: PQGen[T], *arguments: Any, **options: Any) -> T:
        steps: Steps[T] = gen
        try:
            asked = next(steps)
            while asked == Wait.RW and self._has_sent():
                asked = steps.send(Ready.W)
        except StopIteration as end:
            result: T = end.value
        else:
            result = super().wait(_resumed(steps, asked), *arguments, **options)
        if not self._has_sent():
            super().wait(generators.send(self.pgconn))
        return result

    def _has_sent(self) -> bool:
        """Whether the kernel has taken everything. True of a lost connection, too: psycopg's own next step
        finds that and closes it."""
        try:
            return self.pgconn.flush() == 0
        except psycopg.OperationalError:
            return True


def _resumed(steps: Steps[T], asked: Any) -> PQGen[T]:
    """`steps`, which have begun and ask for `asked`."""
    try:
        while True:
            asked = steps.send((yield asked))
    except StopIteration as end:
        result: T = end.value
        return result
