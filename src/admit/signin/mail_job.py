"""Mails as jobs: sealed while they wait, sent once the fact that asked for them is committed, then erased."""

import msgspec
from msgspec.structs import replace

from admit.clock import Clock, new_id
from admit.jobs import retry
from admit.jobs.queue import Job, enqueue
from admit.jobs.worker import Again, Done, GiveUp, Handler, Line, Outcome
from admit.outbound.mail import Mail, MailFailed
from admit.signin.app_mail import MailerOf
from admit.storage.sealing import KeyRing, SealBroken
from admit.storage.transaction import Transaction

KIND = "mail"
SECONDS_MAX = 30.0
AT_ONCE = 16


class SealedMail(msgspec.Struct, frozen=True):
    """A mail that can be read only as the payload of the job `job_id`."""

    app_id: str
    job_id: str
    payload: str


class _Order(msgspec.Struct, frozen=True):
    mail: Mail
    worthless_at: int


def seal(ring: KeyRing, app_id: str, mail: Mail, *, worthless_at: int) -> SealedMail:
    """Seals `mail`, which is of no use to anybody from `worthless_at` (UTC ms) on."""
    job_id = new_id("job")
    order = msgspec.json.encode(_Order(mail, worthless_at)).decode()
    return SealedMail(app_id, job_id, ring.seal(order, _place(app_id, job_id)))


def post(tx: Transaction, sealed: SealedMail, now: int) -> None:
    """Leaves `sealed` to the worker, due at once when this transaction is committed."""
    enqueue(tx, app_id=sealed.app_id, kind=KIND, payload=sealed.payload, now=now, job_id=sealed.job_id)


def line(ring: KeyRing, mailer_of: MailerOf, clock: Clock, *, sender: str) -> Line:
    """How the worker works off the jobs of this KIND. `sender` is the From of mails that name none."""
    return Line(_handler(ring, mailer_of, clock, sender), retry.MAIL, SECONDS_MAX, AT_ONCE)


def _handler(ring: KeyRing, mailer_of: MailerOf, clock: Clock, sender: str) -> Handler:

    async def send(job: Job) -> Outcome:
        try:
            order = _open(ring, job)
        except SealBroken as error:
            return GiveUp(error.message)
        if clock() >= order.worthless_at:
            return GiveUp("It was of no use any more before it could be sent.")
        # The same id on every try, so that mailboxes can drop the copy of a mail that was sent twice.
        mail = replace(order.mail, message_id=job.job_id, sender=order.mail.sender or sender)
        try:
            await (await mailer_of(job.app_id)).send(mail)
        except MailFailed as error:
            # Mail servers like to quote, and details are logged.
            detail = str(error).replace(mail.otp, "[code]") if mail.otp else str(error)
            return GiveUp(detail) if error.permanent else Again(detail)
        return Done("sent", erase_payload=True)

    return send


def _open(ring: KeyRing, job: Job) -> _Order:
    return msgspec.json.decode(ring.unseal(job.payload, _place(job.app_id, job.job_id)), type=_Order)


def _place(app_id: str, job_id: str) -> str:
    return f"jobs.payload/{app_id}/{job_id}"
