"""What the tests of sign-in share: an app, devices with keys, a clock to set, and a reader of mails."""

import base64
import functools
import itertools
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select, update

from admit.accounts.apps import App, NameTaken, UserIds, create_app
from admit.accounts.keys import PublicKey, parse_public_key
from admit.jobs import claims, queue
from admit.jobs.claims import Wanted
from admit.jobs.queue import Settlement
from admit.jobs.tables import jobs
from admit.jobs.worker import Done
from admit.outbound.mail import InboxMailer, Mail, Mailer
from admit.signin import mail_job
from admit.signin.app_mail import MailerOf
from admit.signin.email_code import EmailCodes
from admit.signin.limits import Limits
from admit.signin.proof import Intent, Proof
from admit.signin.tables import email_codes
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

NOON = 1_800_014_400_000
"""A time at which windows of an hour and of a day begin: 15 January 2027, 12:00 UTC."""
ADDRESS = "203.0.113.7"
SENDER = "no-reply@admit.example"

_numbers = itertools.count(1)


class SetClock:
    """A clock that stands until somebody moves it."""

    def __init__(self, at: int = NOON) -> None:
        self.at = at

    def __call__(self) -> int:
        return self.at

    def pass_seconds(self, seconds: float) -> None:
        self.at += round(seconds * 1_000)


class Device:
    """A device that keeps its private key."""

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.public_key: PublicKey = parse_public_key(pem.decode())

    def sign(self, message: str) -> str:
        signature = self._key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(signature).decode()


@functools.cache
def device(number: int = 1) -> Device:
    """The same device for the same number: keys take long to make."""
    return Device(generate_private_key(65_537, 2_048))


async def an_app(database: Database, ring: KeyRing, *, user_ids: UserIds = "email") -> App:
    name = f"notes{next(_numbers)}"
    app = await database.write(
        lambda tx: create_app(tx, ring, name=name, owner="owner@example.com", user_ids=user_ids, now=NOON)
    )
    assert not isinstance(app, NameTaken)
    return app


class Desk:
    """Sign-in by mailed codes in one app, with the questions that tests ask often."""

    def __init__(
        self, db: Database, ring: KeyRing, app: App, clock: SetClock, limits: Limits | None = None
    ) -> None:
        self.db = db
        self.ring = ring
        self.app = app
        self.clock = clock
        self.limits = limits or Limits.off()
        self.codes = EmailCodes(db, ring, clock, self.limits, 900)

    async def start(
        self, email: str = "bob@example.com", intent: Intent = "", address: str = ADDRESS
    ) -> tuple[str, str]:
        """Asks for a code, has it mailed, and returns the otp_id and the code in the mail."""
        otp_id = await self.codes.start(self.app, email, intent, address)
        return otp_id, (await self.mails())[-1].otp

    async def check(self, otp_id: str, otp: str, *, by: Device | None = None, **changes: Any) -> Proof:
        request: dict[str, Any] = {
            "email": None,
            "public_key": (by or device()).public_key,
            "scopes": ["ACCESS_DB"],
            "intent": "",
            "address": ADDRESS,
        }
        proof = await self.codes.check(self.app, otp_id=otp_id, otp=otp, **(request | changes))
        assert isinstance(proof, Proof)
        return proof

    async def mails(self) -> list[Mail]:
        """Sends what waits to be sent, and returns it in the order in which it was asked for."""
        mailer = InboxMailer(self.clock)
        line = mail_job.line(self.ring, always(mailer), self.clock, sender=SENDER)
        wanted = [Wanted(mail_job.KIND, "", False, 500, 60_000)]
        [taken] = await self.db.write(lambda tx: claims.claim(tx, wanted, "wkr_1", self.clock()))
        claimed = taken.jobs
        for job in sorted(claimed, key=lambda job: job.job_id):
            assert isinstance(await line.handler(job), Done)
        done = [
            Settlement(
                job=job,
                state="done",
                detail="sent",
                now=self.clock(),
                erase_payload=True,
            )
            for job in claimed
        ]
        assert all(await self.db.write(lambda tx: queue.settle(tx, done)))
        return [received.mail for received in mailer.mails]

    async def jobs(self) -> list[Any]:
        """The rows of all mail jobs."""
        return list(await self.db.read(lambda tx: tx.execute(select(jobs)).all()))

    async def row(self, otp_id: str) -> Any:
        """What is stored of a code."""
        query = select(email_codes).where(email_codes.c.otp_id == otp_id)
        return await self.db.read(lambda tx: tx.execute(query).one())

    async def move_payload(self, source: str, target: str) -> None:
        """What somebody with a pen in the database could do: a sealed mail under another job."""
        sealed = select(jobs.c.payload).where(jobs.c.job_id == source).scalar_subquery()
        moved = update(jobs).where(jobs.c.job_id == target).values(payload=sealed)
        await self.db.write(lambda tx: tx.execute(moved) and None)


def always(mailer: Mailer) -> MailerOf:
    """`mailer` for every app."""

    async def mailer_of(_app_id: str) -> Mailer:
        return mailer

    return mailer_of


def wrong(otp: str, distance: int = 1) -> str:
    """Another code of the same length."""
    return f"{(int(otp) + distance) % 10 ** len(otp):0{len(otp)}d}"
