"""A value that others may follow."""

import logging
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger("admit.client")


class Observable(Generic[T]):
    """A value, and those who want to hear of it. Reading and subscribing are safe from any thread."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._callbacks: dict[object, Callable[[T], None]] = {}
        self._lock = Lock()

    @property
    def value(self) -> T:
        """The value as it is now."""
        return self._value

    def subscribe(self, callback: Callable[[T], None]) -> Callable[[], None]:
        """Calls `callback` with the value at once, and with every value that differs from the one before.

        Later calls come from the client's thread; do nothing in them that takes long. What a callback raises
        is logged and hurts nobody else. Returns what ends the subscription.
        """
        ticket = object()
        with self._lock:
            self._callbacks[ticket] = callback
        told = self._value
        _tell(callback, told)
        while told != (value := self._value):  # another thread was between, and may have told it before
            told = value
            _tell(callback, told)
        return lambda: self._unsubscribe(ticket)

    def set(self, value: T) -> None:
        """Changes the value and tells the subscribers, in the order in which they came. For the client."""
        if value == self._value:
            return
        self._value = value
        with self._lock:
            callbacks = list(self._callbacks.items())
        for ticket, callback in callbacks:
            if ticket in self._callbacks:
                _tell(callback, value)

    def _unsubscribe(self, ticket: object) -> None:
        with self._lock:
            self._callbacks.pop(ticket, None)


def _tell(callback: Callable[[T], None], value: T) -> None:
    try:
        callback(value)
    except Exception:
        log.exception("A subscriber has raised an error.")
