"""The end of a license: told once, at the moment it is due or at the first sign of life behind it."""

from functools import partial

import msgspec
from sqlalchemy import bindparam, update

from admit.accounts import facts, users
from admit.accounts.licenses import end_of
from admit.accounts.tables import users as users_table
from admit.accounts.users import NEVER, User
from admit.clock import Clock
from admit.events.catalog import UserExpired
from admit.jobs import queue
from admit.jobs.queue import Job
from admit.jobs.worker import Done, Handler, Outcome
from admit.storage.transaction import Transaction

JOB_KIND = "expire"

MARK_EXPIRED = (
    update(users_table)
    .where(users_table.c.app_id == bindparam("of_app"), users_table.c.uid == bindparam("of_uid"))
    .values(expired_at=bindparam("at"))
)


class ExpireJob(msgspec.Struct, frozen=True):
    """Payload of a job that is due when a user's `valid_until` is reached."""

    uid: str


def watch(tx: Transaction, user: User, now: int) -> None:
    """Sees to it that the end of `user`, where it lies ahead, is told when it comes."""
    if now < user.valid_until < NEVER:
        queue.enqueue(
            tx,
            app_id=user.app_id,
            kind=JOB_KIND,
            payload=msgspec.json.encode(ExpireJob(user.uid)).decode(),
            now=now,
            due_at=user.valid_until,
            job_id=f"end_{user.uid}_{user.valid_until}",
        )


def handler(clock: Clock) -> Handler:
    """The worker's way to `expire`."""

    async def handle(job: Job) -> Outcome:
        uid = msgspec.json.decode(job.payload, type=ExpireJob).uid
        return Done(unit=partial(expire, app_id=job.app_id, uid=uid, now=clock()))

    return handle


def expire(tx: Transaction, app_id: str, uid: str, now: int) -> bool:
    """Tells the end of this user if it has come and nobody has told it. False: there is nothing to tell.

    An end that was moved has a job of its own, so this one is done either way.
    """
    user = users.by_uid(tx, [(app_id, uid)], lock=True).get((app_id, uid))
    if user is None or user.expired_at is not None or end_of(user, now) is None:
        return False
    tell(tx, user, now)
    return True


def tell(tx: Transaction, user: User, now: int) -> None:
    """Marks `user`, whose row is locked and was not marked before, and records `user.expired`."""
    tx.execute(MARK_EXPIRED, {"of_app": user.app_id, "of_uid": user.uid, "at": now})
    record(tx, user, now)


def record(tx: Transaction, user: User, now: int) -> None:
    """Records `user.expired` and reaches the user's open clients. The caller marks the row."""
    reason = end_of(user, now)
    assert reason is not None
    facts.record(tx, user, UserExpired(user=facts.person_of(user), reason=reason), now)
    tx.signal("user", user.key)
