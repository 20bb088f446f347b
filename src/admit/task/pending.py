"""What a run wants to be different: one change for each thing, in the order of first asking."""

from collections.abc import Iterator

from admit.task.wire import Change

CHANGES_MAX = 1_000

Key = tuple[str, ...]
"""What kind of change, and of what."""


class Pending:
    """The changes so far. `read_only`: why there can be none, "" where there can."""

    __slots__ = ("_changes", "_read_only")

    def __init__(self, read_only: str = "") -> None:
        self._read_only = read_only
        self._changes: dict[Key, Change] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._changes

    def __iter__(self) -> Iterator[Change]:
        return iter(tuple(self._changes.values()))

    def get(self, key: Key) -> Change | None:
        """The change of that, if there is one."""
        return self._changes.get(key)

    def users(self) -> list[str]:
        """The userIds of those whose properties change."""
        return [key[1] for key in self._changes if key[0] == "user"]

    def check(self) -> None:
        """Raises PermissionError where nothing can be changed."""
        if self._read_only:
            raise PermissionError(self._read_only)

    def add(self, key: Key, change: Change) -> None:
        """Takes a change down, in place of a former one of the same. Raises ValueError beyond the limit."""
        if key not in self._changes and len(self._changes) >= CHANGES_MAX:
            raise ValueError(f"A run makes at most {CHANGES_MAX:,} changes.")
        self._changes[key] = change

    def drop(self, key: Key) -> None:
        """Forgets a change."""
        self._changes.pop(key, None)
