"""Servers that are forked from a process which has imported everything, so that they start at once.

They are `admit serve` in all but two things: the leases of jobs and admissions are short, so that nobody
has to wait for the end of what a killed server had claimed, and they may be told to die at a moment
(`mortal_server`).
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from admit.config import Settings
from admit.enrollment import admit
from admit.jobs import handling
from admit.jobs.worker import Line
from admit.signin import mail_job
from admit.web import server
from admit.webhooks import campaign_work, change_delivery, delivery
from tests.crash import mortal_server
from tests.installation import WAIT_SECONDS, Installation

LEASE_MARGIN_MS = 1_000

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


def start(installation: Installation, *, attempt_seconds_max: float, moment: str = "") -> BaseProcess:
    """Starts a server and waits until it answers. An attempt of a job is cut off after
    `attempt_seconds_max`, its lease lasts a second longer.

    `moment`: where it dies, such as `after:claim`; that may be before it has answered.
    """
    log = installation.folder / f"server-{installation.port}.log"
    arguments = (installation.environment, log, attempt_seconds_max, moment)
    process = _forks.Process(target=_serve, args=arguments, daemon=True)
    process.start()
    give_up_at = time.monotonic() + WAIT_SECONDS
    while not installation.answers() and process.is_alive():
        assert time.monotonic() < give_up_at, log.read_text()
        time.sleep(0.01)
    assert moment or process.is_alive(), log.read_text()
    return process


def kill(process: BaseProcess) -> None:
    """Ends a server as a power cut would."""
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def stop(process: BaseProcess) -> None:
    """Ends a server as an operator does."""
    process.terminate()
    process.join(30)
    assert process.exitcode == 0


def _serve(environment: Mapping[str, str], log: Path, attempt_seconds_max: float, moment: str) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    handling.LEASE_MARGIN_MS = LEASE_MARGIN_MS
    admit.LEASE_MARGIN_MS = LEASE_MARGIN_MS
    for room in (delivery, change_delivery, campaign_work, mail_job):
        room.line = partial(_shorter, room.line, attempt_seconds_max)  # type: ignore[attr-defined]
    if moment:
        when, step = moment.split(":")
        mortal_server.arm(when, step, partial(os.kill, os.getpid(), signal.SIGKILL))
    server.run(Settings.load(environment))


def _shorter(line: Callable[..., Line], attempt_seconds_max: float, *arguments: Any, **named: Any) -> Line:
    return replace(line(*arguments, **named), seconds_max=attempt_seconds_max)
