"""Alarms: the owners of an app are mailed when an endpoint has failed for a day, and when it was disabled."""

from functools import partial
from typing import Literal, assert_never

import msgspec

from admit.accounts.apps import App
from admit.accounts.directory import Directory
from admit.clock import DAY_MS, Clock, iso_date
from admit.errors import NotFound
from admit.jobs import queue
from admit.jobs.queue import Job
from admit.jobs.worker import Done, GiveUp, Handler, Line, Outcome
from admit.outbound.mail import Mail
from admit.signin import mail_job
from admit.signin.mail_job import SealedMail
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from admit.webhooks.health import DISABLE_MS

KIND = "alarm"
USEFUL_MS = 2 * DAY_MS
"""What has not been mailed by then is old news."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """What the owners are to read. `since`: when it began to fail (UTC ms); None: it did not."""

    state: Literal["failing", "disabled"]
    endpoint_id: str
    url: str
    since: int | None
    reason: str


def sound(tx: Transaction, app_id: str, alarm: Alarm, now: int) -> None:
    """Leaves the mails to a job, in the unit that makes them true."""
    queue.enqueue(tx, app_id=app_id, kind=KIND, payload=msgspec.json.encode(alarm).decode(), now=now)


def line(directory: Directory, ring: KeyRing, clock: Clock, *, sender: str) -> Line:
    """How the worker works off the jobs of this KIND. `sender` is the From where an app names none."""
    return Line(_handler(directory, ring, clock, sender))


def _handler(directory: Directory, ring: KeyRing, clock: Clock, sender: str) -> Handler:
    async def handle(job: Job) -> Outcome:
        try:
            app = await directory.app_by_id(job.app_id)
        except NotFound:
            return GiveUp("The app is gone.")
        alarm, now = msgspec.json.decode(job.payload, type=Alarm), clock()
        mails = [
            mail_job.seal(
                ring,
                app.app_id,
                mail_of(app, alarm, owner, app.settings.mail_sender or sender),
                worthless_at=now + USEFUL_MS,
            )
            for owner in sorted(app.owners)
        ]
        return Done(f"{len(mails)} owners are mailed.", unit=partial(_post, mails=mails, now=now))

    return handle


def _post(tx: Transaction, mails: list[SealedMail], now: int) -> None:
    for mail in mails:
        mail_job.post(tx, mail, now)


def mail_of(app: App, alarm: Alarm, owner: str, sender: str) -> Mail:
    """The mail to one owner: what happened, what it means, and what to do."""
    name, this = app.name, alarm.endpoint_id
    which = f"The endpoint {alarm.url} of {app.name}"
    since = "" if alarm.since is None else f" since {iso_date(alarm.since)}"
    match alarm.state:
        case "failing":
            subject = f"{app.name}: an endpoint has been failing for a day"
            days = DISABLE_MS // DAY_MS
            text = (
                f"{which} has not taken a single event{since}. {alarm.reason}\n\n"
                "Nothing is lost: each event is sent again, at growing intervals. If nothing arrives for "
                f"{days} days, the endpoint is disabled. What it misses then is sent when you enable it "
                "again.\n\n"
            )
            first = f"To see what it answers: admit delivery list {name} --endpoint {this}"
            second = f"To send it a test: admit endpoint test {name} {this}"
        case "disabled":
            subject = f"{app.name}: an endpoint was disabled"
            text = (
                f"{which} is sent nothing any more. {alarm.reason}\n\n"
                "What happens meanwhile is kept, and sent when you enable the endpoint again.\n\n"
            )
            first = f"To send it a test: admit endpoint test {name} {this}"
            second = f"To enable it again: admit endpoint resume {name} {this}"
        case _:
            assert_never(alarm.state)
    return Mail(to=owner, subject=subject, text=f"{text}{first}\n{second}\n", html="", sender=sender)
