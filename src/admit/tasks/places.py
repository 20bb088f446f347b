"""Who may begin: a number of places, so shared that nobody waits long behind others. Pure.

Decisions go before HTTP tasks and these before the rest, and each of them finds places that those behind
may not take. Of one rank, a task may have as many places as it leaves free, so that there is always one for a
task that has none; of those who wait, the one with the fewest goes first.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from enum import IntEnum
from typing import TypeVar

Task = TypeVar("Task", bound=Hashable)


class Rank(IntEnum):
    """The lower goes first."""

    DECISION = 0
    HTTP = 1
    OTHER = 2


class Places:
    """`count` places, and which tasks have how many of them."""

    def __init__(self, count: int) -> None:
        spare = {Rank.DECISION: 0, Rank.HTTP: max(1, count // 8), Rank.OTHER: max(2, count // 4)}
        self._limits = {rank: max(1, count - spare[rank]) for rank in Rank}
        self._taken: Counter[Rank] = Counter()
        self._of_task: Counter[Hashable] = Counter()

    def may_begin(self, task: Hashable, rank: Rank, at_once: int) -> bool:
        """Whether there is a place for another run of `task`, which may have `at_once`."""
        has = self._of_task[task]
        free = min(self._limits[each] - self._taken_from(each) for each in Rank if each <= rank)
        return has < at_once and has < free

    def _taken_from(self, rank: Rank) -> int:
        return sum(self._taken[each] for each in Rank if each >= rank)

    def take(self, task: Hashable, rank: Rank) -> None:
        """Takes a place. Whether there is one was asked before."""
        self._taken[rank] += 1
        self._of_task[task] += 1

    def give_back(self, task: Hashable, rank: Rank) -> None:
        """Gives it back."""
        self._taken[rank] -= 1
        self._of_task[task] -= 1
        if not self._of_task[task]:
            del self._of_task[task]

    def next_of(self, waiting: Iterable[tuple[Task, Rank, int]]) -> Task | None:
        """Whose turn it is of those who wait, each with its rank and what it may have at once; of equals the
        first. None: nobody's."""
        able = [
            (rank, self._of_task[task], task)
            for task, rank, most in waiting
            if self.may_begin(task, rank, most)
        ]
        return min(able, key=lambda each: each[:2])[2] if able else None
