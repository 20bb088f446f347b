"""Mailers against a real mail server that greylists, refuses, breaks off and shows wrong certificates."""

import asyncio
import json
import ssl
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from admit import clock
from admit.errors import ConfigError
from admit.outbound import smtp
from admit.outbound.gate import OpenTransaction
from admit.outbound.mail import FileMailer, InboxMailer, Mail, MailFailed, mailer_for
from admit.outbound.smtp import SmtpMailer, mail_server
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.receivers import Authority

PASSWORD = "p@ss:w/rd ü"


def mail(to: str = "alice@example.com", *, subject: str = "Your code", otp: str = "123456") -> Mail:
    return Mail(to, subject, f"It is {otp}.", f"<p>It is {otp}.</p>", "Admit <login@example.org>", otp)


class Handler:
    """What the server does with mails; tests change `rcpt` and `data`."""

    def __init__(self) -> None:
        self.connections = 0
        self.logins: list[tuple[bytes, bytes]] = []
        self.encrypted: list[bool] = []
        self.received: list[Envelope] = []
        self.rcpt: Callable[[SMTP], str] = lambda _server: "250 OK"
        self.data: Callable[[SMTP], str] = lambda _server: "250 OK"

    async def handle_RCPT(
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        answer = self.rcpt(server)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self.data(server)
        if answer.startswith("250"):
            self.received.append(envelope)
            self.encrypted.append(session.ssl is not None)
        return answer

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: Any
    ) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append((given.login, given.password))
        return AuthResult(success=given.password == PASSWORD.encode(), handled=False)


@asynccontextmanager
async def mail_server_on_loopback(
    handler: Handler,
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    utf8: bool = True,
    login: bool = False,
    port: int = 0,
) -> AsyncIterator[int]:
    """Serves mail while the context lasts, and says on which port."""
    servers: list[SMTP] = []

    def accept() -> SMTP:
        handler.connections += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a login without encryption: we are the ones to refuse it
            server = SMTP(
                handler,
                hostname="mail.example.com",
                enable_SMTPUTF8=utf8,
                tls_context=starttls,
                auth_required=login,
                auth_require_tls=False,
                authenticator=handler.authenticate,
                loop=asyncio.get_running_loop(),
            )
        servers.append(server)
        return server

    listening = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", port, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for server in servers:
            if server.transport is not None:
                server.transport.close()
        await listening.wait_closed()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def smtp_mailer(url: str, authority: Authority | None = None) -> AsyncIterator[SmtpMailer]:
    mailer = SmtpMailer(
        mail_server(url), clock.now, tls=authority.trusting() if authority is not None else None
    )
    try:
        yield mailer
    finally:
        await mailer.close()


async def failure(mailer: SmtpMailer, one: Mail | None = None) -> MailFailed:
    """How sending fails."""
    with pytest.raises(MailFailed) as caught:
        await mailer.send(one or mail())
    assert PASSWORD not in str(caught.value)
    return caught.value


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def handler() -> Handler:
    return Handler()


# SMTP


async def test_mail_arrives_at_the_one_recipient(handler: Handler) -> None:
    async with mail_server_on_loopback(handler) as port, smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer:
        await mailer.send(mail())

    [envelope] = handler.received
    assert envelope.mail_from == "login@example.org"
    assert envelope.rcpt_tos == ["alice@example.com"]
    assert isinstance(envelope.content, bytes)
    message = message_from_bytes(envelope.content)
    assert (message["To"], message["Subject"]) == ("alice@example.com", "Your code")
    assert message["Auto-Submitted"] == "auto-generated"


async def test_greylisted_mail_may_be_tried_again_and_then_arrives(handler: Handler) -> None:
    answers = iter(["451 4.7.1 Greylisted, try again in 300 s", "250 OK"])
    handler.rcpt = lambda _server: next(answers)
    async with mail_server_on_loopback(handler) as port, smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer:
        failed = await failure(mailer)
        await mailer.send(mail())

    assert not failed.permanent
    assert "451 4.7.1 Greylisted" in str(failed)
    assert len(handler.received) == 1


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [
        ("550 5.1.1 No such mailbox", True),
        ("553 5.1.3 Bad address", True),
        ("450 4.2.1 Mailbox busy", False),
        ("452 4.2.2 Mailbox full", False),
        ("421 4.3.2 Shutting down", False),
    ],
)
async def test_refused_recipient_is_for_good_or_for_now(
    handler: Handler, answer: str, permanent: bool
) -> None:
    handler.rcpt = lambda _server: answer
    async with mail_server_on_loopback(handler) as port, smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer:
        failed = await failure(mailer)

    assert failed.permanent is permanent


@pytest.mark.parametrize(
    ("answer", "permanent"), [("554 5.7.1 Spam: It is 123456.", True), ("451 4.3.0 Later", False)]
)
async def test_refused_content_is_told_without_quoting_it(
    handler: Handler, answer: str, permanent: bool
) -> None:
    handler.data = lambda _server: answer
    async with mail_server_on_loopback(handler) as port, smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer:
        failed = await failure(mailer)

    assert failed.permanent is permanent
    assert answer[:3] in str(failed)
    assert "123456" not in str(failed)


async def test_connection_lost_after_the_content_may_be_tried_again(handler: Handler) -> None:
    def drop(server: SMTP) -> str:
        assert server.transport is not None
        server.transport.abort()  # type: ignore[attr-defined]
        return "250 OK"

    handler.data = drop
    async with mail_server_on_loopback(handler) as port, smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer:
        failed = await failure(mailer)

    assert not failed.permanent


async def test_nobody_listening_may_be_tried_again(handler: Handler) -> None:
    async with mail_server_on_loopback(handler) as port:
        pass
    async with smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer:
        assert not (await failure(mailer)).permanent


async def test_server_that_hangs_does_not_hold_the_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "SEND_SECONDS_MAX", 0.2)

    ended = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, smtp_mailer(url) as mailer:
        failed = await failure(mailer)
        await ended.wait()

    assert not failed.permanent
    assert "did not answer in time" in str(failed)


async def test_connection_is_used_again_and_found_dead_before_a_mail_is_risked(handler: Handler) -> None:
    async with mail_server_on_loopback(handler) as port, smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer:
        for _ in range(3):
            await mailer.send(mail())
        assert handler.connections == 1
        [line] = mailer._idle
        line.client.transport.abort()  # type: ignore[union-attr]
        await mailer.send(mail())

    assert handler.connections == 2
    assert len(handler.received) == 4


async def test_connection_is_not_used_for_ever(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "MAILS_PER_CONNECTION_MAX", 2)
    monkeypatch.setattr(smtp, "IDLE_SECONDS_MAX", 0.05)
    async with mail_server_on_loopback(handler) as port, smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer:
        for _ in range(5):
            await mailer.send(mail())
        assert handler.connections == 3
        [line] = mailer._idle
        await asyncio.sleep(0.15)
        assert not line.client.is_connected
        assert not mailer._idle


async def test_many_mails_at_once_share_few_connections(handler: Handler) -> None:
    async with mail_server_on_loopback(handler) as port, smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer:
        await asyncio.gather(*(mailer.send(mail(f"user{n}@example.com")) for n in range(40)))

    assert handler.connections <= smtp.CONNECTIONS_MAX
    assert {to for each in handler.received for to in each.rcpt_tos} == {
        f"user{n}@example.com" for n in range(40)
    }


async def test_international_mailbox_is_reached_where_the_server_knows_such(handler: Handler) -> None:
    async with mail_server_on_loopback(handler) as port, smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer:
        await mailer.send(mail("jörg@bücher.example", subject="Grüße"))

    assert handler.received[0].rcpt_tos == ["jörg@xn--bcher-kva.example"]
    assert handler.received[0].smtp_utf8


async def test_international_mailbox_fails_for_good_where_the_server_does_not(handler: Handler) -> None:
    async with (
        mail_server_on_loopback(handler, utf8=False) as port,
        smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer,
    ):
        assert (await failure(mailer, mail("jörg@example.com"))).permanent
        await mailer.send(mail("joerg@bücher.example", subject="Grüße"))

    assert len(handler.received) == 1


# SMTP: encryption and passwords


async def test_offered_encryption_is_used(handler: Handler, authority: Authority) -> None:
    context = authority.serving("127.0.0.1")
    async with (
        mail_server_on_loopback(handler, starttls=context) as port,
        smtp_mailer(f"smtp://127.0.0.1:{port}", authority) as mailer,
    ):
        await mailer.send(mail())

    assert handler.encrypted == [True]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_wrong_certificate_stops_the_mail_for_now(
    handler: Handler, authority: Authority, scheme: str
) -> None:
    context = authority.serving("elsewhere.example.com")
    tls = {"smtp": {"starttls": context}, "smtps": {"tls": context}}[scheme]
    async with (
        mail_server_on_loopback(handler, **tls) as port,  # type: ignore[arg-type]
        smtp_mailer(f"{scheme}://127.0.0.1:{port}", authority) as mailer,
    ):
        failed = await failure(mailer)

    assert not failed.permanent
    assert "TLS" in str(failed)
    assert ("starttls=off" in str(failed)) is (scheme == "smtp")
    assert not handler.received


async def test_certificate_of_nobody_we_know_is_refused(handler: Handler, authority: Authority) -> None:
    async with (
        mail_server_on_loopback(handler, starttls=authority.serving("127.0.0.1")) as port,
        smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer,
    ):
        assert not (await failure(mailer)).permanent

    assert not handler.received


async def test_required_encryption_that_is_not_offered_stops_the_mail(handler: Handler) -> None:
    async with (
        mail_server_on_loopback(handler) as port,
        smtp_mailer(f"smtp://127.0.0.1:{port}?starttls=required") as mailer,
    ):
        assert not (await failure(mailer)).permanent

    assert not handler.received


async def test_encryption_can_be_left_out_for_a_trusted_relay(handler: Handler, authority: Authority) -> None:
    context = authority.serving("elsewhere.example.com")
    async with (
        mail_server_on_loopback(handler, starttls=context) as port,
        smtp_mailer(f"smtp://127.0.0.1:{port}?starttls=off") as mailer,
    ):
        await mailer.send(mail())

    assert handler.encrypted == [False]


async def test_password_is_given_over_an_encrypted_connection(handler: Handler, authority: Authority) -> None:
    context = authority.serving("127.0.0.1")
    async with (
        mail_server_on_loopback(handler, starttls=context, login=True) as port,
        smtp_mailer(f"smtp://us%40er:p%40ss%3Aw%2Frd%20%C3%BC@127.0.0.1:{port}", authority) as mailer,
    ):
        await mailer.send(mail())

    assert handler.logins == [(b"us@er", PASSWORD.encode())]
    assert handler.encrypted == [True]


async def test_password_is_never_sent_in_the_clear(handler: Handler) -> None:
    async with (
        mail_server_on_loopback(handler, login=True) as port,
        smtp_mailer(f"smtp://user:p%40ss%3Aw%2Frd%20%C3%BC@127.0.0.1:{port}") as mailer,
    ):
        await failure(mailer)

    assert handler.logins == []


async def test_wrong_password_is_the_setup_and_not_the_mail(handler: Handler, authority: Authority) -> None:
    context = authority.serving("127.0.0.1")
    async with (
        mail_server_on_loopback(handler, tls=context, login=True) as port,
        smtp_mailer(f"smtps://user:wrong@127.0.0.1:{port}", authority) as mailer,
    ):
        failed = await failure(mailer)

    assert not failed.permanent
    assert "the user or the password of its URL" in str(failed)


async def test_missing_password_is_the_setup_and_not_the_mail(handler: Handler) -> None:
    async with (
        mail_server_on_loopback(handler, login=True) as port,
        smtp_mailer(f"smtp://127.0.0.1:{port}") as mailer,
    ):
        assert not (await failure(mailer)).permanent


# Files


async def test_file_gets_one_line_of_json_for_each_mail(tmp_path: Path) -> None:
    path = tmp_path / "mails ü.jsonl"
    mailer = mailer_for(path.as_uri())
    await mailer.send(mail())
    await mailer.send(mail("bob@example.com", otp=""))

    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {
        "to": "alice@example.com",
        "subject": "Your code",
        "text": "It is 123456.",
        "html": "<p>It is 123456.</p>",
        "otp": "123456",
    }
    assert (second["to"], second["otp"]) == ("bob@example.com", "")
    assert path.stat().st_mode & 0o077 == 0


async def test_line_torn_by_a_crash_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "mails.jsonl"
    path.write_text('{"to":"ali')
    await FileMailer(path).send(mail())

    assert json.loads(path.read_text().splitlines()[1])["to"] == "alice@example.com"


async def test_full_disk_may_be_tried_again() -> None:
    with pytest.raises(MailFailed) as caught:
        await FileMailer(Path("/dev/full")).send(mail())

    assert not caught.value.permanent


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "mails.jsonl"
    program = (
        "import asyncio, sys; from pathlib import Path; from admit.outbound.mail import FileMailer, Mail\n"
        "async def main():\n"
        "    _, path, who = sys.argv\n"
        "    mailer = FileMailer(Path(path))\n"
        "    mails = [Mail(f'{who}{n}@example.com', 's', 'x' * 20_000, '', 'a@b') for n in range(9)]\n"
        "    await asyncio.gather(*map(mailer.send, mails))\n"
        "asyncio.run(main())\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), who]) for who in "ab"]

    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert {json.loads(line)["to"] for line in path.read_text().splitlines()} == {
        f"{who}{n}@example.com" for who in "ab" for n in range(9)
    }


# All mailers


async def test_inbox_keeps_the_newest_mails_the_newest_last() -> None:
    inbox = InboxMailer(lambda: 7)
    for n in range(205):
        await inbox.send(mail(f"user{n}@example.com"))

    assert len(inbox.mails) == 200
    assert inbox.mails[-1].mail.to == "user204@example.com"
    assert inbox.mails[-1].received_at == 7


async def test_no_mailer_takes_a_mail_for_two(tmp_path: Path) -> None:
    for mailer in (InboxMailer(), FileMailer(tmp_path / "mails.jsonl"), mailer_for("smtp://127.0.0.1:1")):
        with pytest.raises(MailFailed) as caught:
            await mailer.send(mail("alice@example.com\r\nBcc: eve@example.com"))
        assert caught.value.permanent


async def test_no_mail_leaves_inside_a_unit(database: Database, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    for mailer in (InboxMailer(), FileMailer(tmp_path / "mails.jsonl"), mailer_for("smtp://127.0.0.1:1")):

        def unit(_tx: Transaction, send: Any = mailer.send) -> None:
            asyncio.run_coroutine_threadsafe(send(mail()), loop).result()

        with pytest.raises(OpenTransaction):
            await database.write(unit)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "inbox:x",
        "mailto:a@b",
        "smtp://",
        "smtp://user:hunter2@/",
        "smtp://user:hunter2@mail.example.com:99999",
        "smtp://user:hunter2@mail.example.com/path",
        "smtp://user:hunter2@mail.example.com?starttls=perhaps",
        "smtp://user:hunter2@mail.example.com?verify=no",
        "file://host/path",
        "file:///",
        "file:mails.jsonl",
    ],
)
def test_wrong_mail_url_stops_the_start_without_telling_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"MAIL_URL .*Example: ADMIT_MAIL_URL=") as caught:
        mailer_for(url)

    assert "hunter2" not in str(caught.value)


def test_ports_follow_the_way_mail_is_handed_in() -> None:
    assert mail_server("smtp://mail.example.com").port == 25
    assert mail_server("smtp://u:p@mail.example.com").port == 587
    assert mail_server("smtps://u:p@mail.example.com").port == 465
    assert "p@ss" not in repr(mail_server("smtps://u:p%40ss@mail.example.com"))
