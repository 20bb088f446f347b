"""Mails as jobs: sealed while they wait, sent when the code is kept, erased when nobody needs them."""

import asyncio
import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from admit.accounts.app_settings import MailTemplates
from admit.jobs.queue import Job
from admit.jobs.worker import Outcome, Worker
from admit.outbound.mail import Mail, MailFailed
from admit.outbound.message import compose
from admit.signin import mail_job
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from tests.contract.signin_desk import ADDRESS, NOON, SENDER, Desk, SetClock, always, an_app

WAIT_SECONDS = 10


class Post:
    """A mailer that fails as it is told, mail by mail."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.failures: list[Exception] = []

    async def send(self, mail: Mail) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(mail)

    async def close(self) -> None:
        """There is nothing to close."""


class Office:
    """A desk with a worker that sends its mails."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.post = Post()

    async def ask(self, email: str = "bob@example.com") -> str:
        return await self.desk.codes.start(self.desk.app, email, "", ADDRESS)

    async def work(self, jobs: int = 1) -> list[Any]:
        """Lets a worker handle as many jobs as are due, and returns the rows of all."""
        line = mail_job.line(self.desk.ring, always(self.post), self.desk.clock, sender=SENDER)
        handled = asyncio.Semaphore(0)

        async def handle(job: Job) -> Outcome:
            try:
                return await line.handler(job)
            finally:
                handled.release()

        worker = Worker(
            self.desk.db, {mail_job.KIND: dataclasses.replace(line, handler=handle)}, self.desk.clock
        )
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(WAIT_SECONDS):
            for _ in range(jobs):
                await handled.acquire()
        await worker.stop()
        await running
        return await self.desk.jobs()

    async def work_one(self) -> Any:
        (job,) = await self.work()
        return job


@pytest.fixture
async def office(database: Database, ring: KeyRing) -> Office:
    """A post office."""
    return Office(Desk(database, ring, await an_app(database, ring), SetClock()))


async def test_a_mail_is_sent_with_its_code_and_then_erased(office: Office) -> None:
    otp_id = await office.ask()
    job = await office.work_one()
    assert job.state == "done"
    (mail,) = office.post.sent
    assert await office.desk.check(otp_id, mail.otp)
    assert mail.otp in mail.subject
    assert mail.otp in mail.text
    assert mail.otp in mail.html
    assert (mail.to, mail.sender, mail.message_id) == ("bob@example.com", SENDER, job.job_id)
    assert job.payload == ""


async def test_while_a_mail_waits_nobody_can_read_it(office: Office) -> None:
    await office.ask()
    (job,) = await office.desk.jobs()
    assert job.due_at == NOON
    assert "bob" not in job.payload
    assert (await office.work_one()).state == "done"
    assert office.post.sent[0].otp not in job.payload


async def test_a_sealed_mail_opens_in_its_own_job_only(office: Office) -> None:
    """Else whoever can write to the database could have bob's code mailed as eve's."""
    await office.ask("bob@example.com")
    await office.ask("eve@example.com")
    bobs, eves = await office.desk.jobs()
    await office.desk.move_payload(bobs.job_id, eves.job_id)
    jobs = await office.work(2)
    assert {job.state for job in jobs} == {"done", "dead"}
    assert [mail.to for mail in office.post.sent] == ["bob@example.com"]


async def test_a_mail_that_was_not_taken_is_tried_again_under_the_same_id(office: Office) -> None:
    otp_id = await office.ask()
    office.post.failures = [MailFailed("421 busy", permanent=False), ConnectionResetError("gone")]
    first = await office.work_one()
    assert first.state == "waiting"
    assert first.payload != ""
    office.desk.clock.pass_seconds(3)
    assert (await office.work_one()).state == "waiting"
    office.desk.clock.pass_seconds(10)
    job = await office.work_one()
    assert job.state == "done"
    assert job.attempts == 3
    assert office.post.sent[0].message_id == first.job_id
    assert await office.desk.check(otp_id, office.post.sent[0].otp)


async def test_a_mail_that_will_never_be_taken_is_erased_at_once(office: Office) -> None:
    await office.ask()
    office.post.failures = [MailFailed("550 no such user", permanent=True)]
    job = await office.work_one()
    assert job.state == "dead"
    assert (job.payload, job.attempts, job.detail) == ("", 1, "550 no such user")


async def test_a_mail_is_of_no_use_once_its_code_has_expired(office: Office) -> None:
    await office.ask()
    office.post.failures = [MailFailed("421 busy", permanent=False)] * 20
    assert (await office.work_one()).state == "waiting"
    office.desk.clock.pass_seconds(900)
    job = await office.work_one()
    assert job.state == "dead"
    assert len(office.post.failures) == 19
    assert (job.payload, job.detail) == ("", "It was of no use any more before it could be sent.")


@pytest.mark.parametrize("permanent", [True, False])
async def test_a_mail_server_that_quotes_the_mail_does_not_get_the_code_into_the_job(
    database: Database, ring: KeyRing, permanent: bool
) -> None:
    desk = Desk(database, ring, await an_app(database, ring), SetClock())
    codes = []

    class Parrot(Post):
        async def send(self, mail: Mail) -> None:
            codes.append(mail.otp)
            raise MailFailed(f"554 spam: {mail.subject}", permanent=permanent)

    office = Office(desk)
    office.post = Parrot()
    await office.ask()
    job = await office.work_one()
    assert job.state == ("dead" if permanent else "waiting")
    assert job.detail.startswith("554 spam: [code] is your code for")
    assert codes[0] not in str(job)


async def test_an_app_brings_its_own_words_and_sender(office: Office) -> None:
    words = MailTemplates(
        subject="{{ originName }}\r\nBcc: eve@example.com",
        text="{{ otp }} for {{ email }}",
        html="<b>{{ otp }}</b> for {{ email }}",
    )
    app = office.desk.app
    sender = "Notes <login@notes.example>"
    office.desk.app = replace(app, settings=replace(app.settings, mail_sender=sender, mail_templates=words))
    await office.ask("a&b@example.com")
    assert (await office.work_one()).state == "done"
    (mail,) = office.post.sent
    assert mail.subject == f"{app.name} Bcc: eve@example.com"
    assert mail.text == f"{mail.otp} for a&b@example.com"
    assert mail.html == f"<b>{mail.otp}</b> for a&amp;b@example.com"
    assert mail.sender == sender
    message = compose(mail, NOON)
    assert message.to == "a&b@example.com"
    assert b"\nBcc:" not in message.content


async def test_a_broken_template_does_not_keep_the_mail_back(office: Office) -> None:
    words = MailTemplates(subject="{{ otp", text="{{ nobody }}", html="{% for x in y %}")
    app = office.desk.app
    office.desk.app = replace(app, settings=replace(app.settings, mail_templates=words))
    otp_id = await office.ask()
    assert (await office.work_one()).state == "done"
    assert await office.desk.check(otp_id, office.post.sent[0].otp)
