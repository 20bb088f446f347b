"""Listening on PostgreSQL: threads that hear of the commits of other processes.

Where LISTEN is not to be had (the database is away, or a pooler in transaction mode accepts LISTEN and
delivers nothing), subscribers are told four times a second to look for themselves.
"""

import selectors
import socket
import threading
from typing import Any

import psycopg
import structlog
from psycopg import sql
from sqlalchemy.engine import URL

from admit import clock
from admit.storage import notices
from admit.storage.postgres import connect_arguments
from admit.storage.signals import Signals

POLL_SECONDS = 0.25
PROBE_SECONDS_MAX = 1.0
DEAF_SECONDS = 30.0
AWAY_SECONDS = 1.0

LISTEN = sql.SQL("LISTEN {}").format(sql.Identifier(notices.CHANNEL))

log = structlog.get_logger("admit.storage")


class NothingHeard(Exception):
    """A notice that we sent to ourselves did not arrive."""


class Listener:
    """Delivers the signals of other processes to `signals`, on a connection of its own."""

    def __init__(self, url: URL, listen_url: URL, writer_id: str, signals: Signals) -> None:
        self.hears = threading.Event()
        self._url = url
        self._listen_url = listen_url
        self._writer_id = writer_id
        self._signals = signals
        self._ends, self._end = socket.socketpair()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name="admit-listener", daemon=True),
            threading.Thread(target=self._poll, name="admit-poller", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._end.send(b".")
        for thread in self._threads:
            thread.join()
        self._end.close()
        self._ends.close()

    def _run(self) -> None:
        complaint = ""
        while not self._stopping.is_set():
            pause = AWAY_SECONDS
            try:
                with _connect(self._listen_url) as connection:
                    self._prove(connection)
                    complaint = ""
                    self._listen(connection)
            except Exception as error:
                if isinstance(error, NothingHeard):
                    pause = DEAF_SECONDS
                if type(error).__name__ != complaint:
                    complaint = type(error).__name__
                    log.warning("storage.not_listening", cause=complaint, poll_seconds=POLL_SECONDS)
            finally:
                self.hears.clear()
            self._stopping.wait(pause)

    def _poll(self) -> None:
        """Has subscribers look for themselves while nothing is heard."""
        while not self._stopping.wait(POLL_SECONDS):
            if not self.hears.is_set():
                self._signals.look_yourselves()

    def _prove(self, connection: psycopg.Connection[Any]) -> None:
        """Listens, and raises NothingHeard unless a notice that another connection sends arrives here."""
        connection.execute(LISTEN)
        probe = notices.probe(clock.new_id("prb"))
        with _connect(self._url) as other:
            other.execute("SELECT pg_notify(%s, %s)", (notices.CHANNEL, probe))
        for notice in connection.notifies(timeout=PROBE_SECONDS_MAX):
            if notice.payload == probe:
                return
        raise NothingHeard

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        """Delivers until the connection is lost or the listener is closed."""
        log.debug("storage.listening")
        self.hears.set()
        self._signals.look_yourselves()  # at what was signalled before
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._ends, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for notice in connection.notifies(timeout=0):
                    self._deliver(notice.payload)
                selector.select()

    def _deliver(self, payload: str) -> None:
        """Own signals are left out: they were delivered at the commit."""
        if (notice := notices.decode(payload)) is not None and notice[0] != self._writer_id:
            self._signals.deliver(notice[1])


def _connect(url: URL) -> psycopg.Connection[Any]:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True, prepare_threshold=None, **connect_arguments(url))
