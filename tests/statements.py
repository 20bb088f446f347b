"""Statements as they are executed: by SQLAlchemy, or past it by `storage.direct`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

from admit.storage import direct
from admit.storage.direct import Cursor, Values

Notice = Callable[[Connection, str, Any], None]
"""Hears of a connection, a statement and its parameters, right before it is executed."""


@contextmanager
def noticed(notice: Notice) -> Iterator[None]:
    """Tells `notice` of every statement meanwhile."""
    stop = begin_to_notice(notice)
    try:
        yield
    finally:
        stop()


def begin_to_notice(notice: Notice) -> Callable[[], None]:
    """Tells `notice` of every statement from now on; returns what ends that."""

    def executed(connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        notice(connection, statement, parameters)

    def handed_over(connection: Connection, text: str, values: Values) -> Cursor:
        notice(connection, text, values)
        return hand_over(connection, text, values)

    def stop() -> None:
        event.remove(Engine, "before_cursor_execute", executed)
        setattr(direct, "hand_over", hand_over)  # noqa: B010  (a function cannot be assigned to)

    hand_over = direct.hand_over
    event.listen(Engine, "before_cursor_execute", executed)
    setattr(direct, "hand_over", handed_over)  # noqa: B010
    return stop
