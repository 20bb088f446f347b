"""Signals: hints that a fact has changed, from any process to every process.

A signal is never the fact itself. A subscriber is told a key, or None when signals may have been missed
(no LISTEN to be had, connection lost): then it looks at its facts itself.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from admit.storage.transaction import Signal

Listener = Callable[[str | None], None]

log = structlog.get_logger("admit.storage")


class Signals:
    """Hands signals to the subscribers of this process, on the event loop that `attach` named."""

    def __init__(self, on_attach: Callable[[], None] = lambda: None) -> None:
        self._on_attach = on_attach
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Names the loop on which listeners are called; nothing is heard before."""
        self._loop = loop
        self._on_attach()

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Calls `listener(key)` for each signal of `topic`, `listener(None)` when some may have been missed.

        Signals of this process arrive before whoever wrote is answered. Returns a function that ends the
        subscription.
        """
        self._listeners[topic].append(listener)
        return lambda: self._listeners[topic].remove(listener)

    def deliver(self, signals: Sequence[Signal]) -> None:
        """Hands over `signals`. May be called from any thread."""
        if signals:
            self._on_loop(self._call, signals)

    def look_yourselves(self) -> None:
        """Tells every subscriber that signals may have been missed. May be called from any thread."""
        self._on_loop(self._call_all)

    def _on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(function, *arguments)

    def _call(self, signals: Sequence[Signal]) -> None:
        for signal in signals:
            for listener in tuple(self._listeners.get(signal.topic, ())):
                _tell(listener, signal.topic, signal.key)

    def _call_all(self) -> None:
        for topic, listeners in tuple(self._listeners.items()):
            for listener in tuple(listeners):
                _tell(listener, topic, None)


def _tell(listener: Listener, topic: str, key: str | None) -> None:
    try:
        listener(key)
    except Exception:  # one deaf subscriber must not keep the others from hearing
        log.exception("storage.listener_failed", topic=topic)
