"""`admit serve` that dies by SIGKILL at one named moment, once. Its arguments are MOMENT and MARK.

MOMENT is `before:STEP` or `after:STEP`; STEP is a commit, known by a statement in it, or what leaves
the house. MARK is a file that is made right before dying: where it exists, the server lives on.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.base import RootTransaction

from admit.config import Settings
from admit.enrollment import asking
from admit.outbound.mail import FileMailer
from admit.web import server, token_api
from admit.webhooks import change_delivery, delivery
from tests.statements import begin_to_notice

COMMITS = {
    "code": ("INSERT INTO email_codes",),
    "claim": ("UPDATE jobs", "fence="),
    "sent": ("UPDATE ", "jobs SET", "finished_at="),
    "guess": ("UPDATE email_codes SET guesses",),
    "enter": ("INSERT ", "INTO admissions"),
    "settle": ("UPDATE ", "admissions SET settled_at"),
    "record": ("INSERT ", "INTO events"),
    "redeem": ("INSERT INTO enrollment_token_uses",),
    "delivered": ("INSERT ", "INTO attempts"),
    "stop": ("UPDATE endpoints SET state=", "caught_up_to="),
    "enable": ("UPDATE endpoints SET state=", "failing_since="),
    "gather": ("UPDATE change_hooks SET",),
    "catch up": ("UPDATE campaigns SET", "cursor="),
}
"""A commit is known by one statement that contains all of these."""

OF_A_LOGIN = ("code", "claim", "sent", "guess", "enter", "settle", "mail", "hook", "answer")


def main() -> None:
    moment, step = sys.argv[1].split(":")
    mark = Path(sys.argv[2])
    if not mark.exists():
        arm(moment, step, lambda: die(mark))
    server.run(Settings.load(os.environ))


def arm(moment: str, step: str, end: Callable[[], None]) -> None:
    """Sees to it that `end` is called before or after `step`."""
    if step in COMMITS:
        _arm_commit(moment, COMMITS[step], end)
    elif step == "mail":
        _arm_call(moment, FileMailer, "send", end)
    elif step == "hook":
        _arm_call(moment, asking, "ask", end)
    elif step == "answer":
        _arm_call(moment, token_api, "_redeem_code", end)
    elif step == "post":
        _arm_call(moment, delivery, "post", end)
    elif step == "tell":
        _arm_call(moment, change_delivery, "post", end)
    else:
        raise SystemExit(f"there is no step {step!r}")


def die(mark: Path) -> None:
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)


def _arm_commit(moment: str, words: tuple[str, ...], end: Callable[[], None]) -> None:
    def notice(connection: Connection, statement: str, _parameters: object) -> None:
        if all(word in statement for word in words):
            connection.info["mortal"] = True

    begin_to_notice(notice)
    original = RootTransaction.commit

    def commit(transaction: Any) -> None:
        doomed = transaction.connection.info.pop("mortal", False)
        if doomed and moment == "before":
            end()
        original(transaction)
        if doomed and moment == "after":
            end()

    setattr(RootTransaction, "commit", commit)  # noqa: B010  (a method cannot be assigned to)


def _arm_call(moment: str, owner: Any, name: str, end: Callable[[], None]) -> None:
    original = getattr(owner, name)

    async def call(*arguments: Any, **named: Any) -> Any:
        if moment == "before":
            end()
        result = await original(*arguments, **named)
        if moment == "after":
            end()
        return result

    setattr(owner, name, call)
