"""What waits to be read, and which of it a reader takes next.

Queries that share their statements are with one reader at a time. Those that come meanwhile wait, and go
together in their turn: a statement costs about the same for one as for ten, and readers that ran it beside
each other would have a few queries each, at the full price, and fight for the interpreter.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from admit.storage.work import Work

TOGETHER_MAX = 256

Kind = Callable[..., Any] | None
"""The unit that queries share; None: of those that share it with no other."""


class Queries:
    """All queries that wait. Kinds take turns. All of it is called while one lock is held."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Kind, deque[Work]] = OrderedDict()
        self._being_read: set[Kind] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, work: Work) -> None:
        """Queues `work`."""
        self._waiting.setdefault(_kind_of(work), deque()).append(work)
        self._count += 1

    def put_back(self, batch: Sequence[Work]) -> None:
        """Queues what was taken and not read, one or more, before all others of its kind."""
        self._waiting.setdefault(_kind_of(batch[0]), deque()).extendleft(reversed(batch))
        self._count += len(batch)

    def can_be_taken(self) -> bool:
        """Whether `take` has something to give."""
        return any(kind not in self._being_read for kind in self._waiting)

    def take(self, alone_max: int) -> list[Work]:
        """Takes the queries whose turn it is: all of a kind, or so many that stand alone."""
        for kind in self._waiting:
            if kind not in self._being_read:
                return self._take(kind, alone_max if kind is None else TOGETHER_MAX)
        return []

    def has_read(self, batch: Sequence[Work]) -> None:
        """Lets the next reader have what is of the kind of `batch`."""
        if batch:
            self._being_read.discard(_kind_of(batch[0]))

    def _take(self, kind: Kind, count_max: int) -> list[Work]:
        waiting = self._waiting.pop(kind)
        taken = [waiting.popleft() for _ in range(min(count_max, len(waiting)))]
        if waiting:
            self._waiting[kind] = waiting
        if kind is not None:
            self._being_read.add(kind)
        self._count -= len(taken)
        return taken


def _kind_of(work: Work) -> Kind:
    return work.unit if work.together else None
