"""Where mails go: to a mail server, into a file, or into an inbox in memory, as MAIL_URL says.

MAIL_URL is the operator's own, never an app's, so the egress policy does not apply to it.
"""

import asyncio
import fcntl
import os
from collections import deque
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from admit import clock as clocks
from admit.clock import Clock
from admit.errors import ConfigError
from admit.outbound.gate import refuse_inside_a_unit
from admit.outbound.message import Mail, MailFailed, compose
from admit.outbound.smtp import SmtpMailer, mail_server

__all__ = ["FileMailer", "InboxMailer", "Mail", "MailFailed", "Mailer", "ReceivedMail", "mailer_for"]

INBOX_MAILS_MAX = 200
EXAMPLE = "Example: ADMIT_MAIL_URL=smtp://user:password@mail.example.com:587"


class Mailer(Protocol):
    """Takes mails to where they are read."""

    async def send(self, mail: Mail) -> None:
        """Returns when the mail has been taken over by the other side. Raises MailFailed."""

    async def close(self) -> None:
        """Closes what is open."""


class WrittenMail(msgspec.Struct, frozen=True):
    """A line of the file of `file:` URLs. Tests and scripts read it; its fields are a public contract."""

    to: str
    subject: str
    text: str
    html: str
    otp: str


class ReceivedMail(msgspec.Struct, frozen=True):
    """A mail in the inbox of `inbox:`, with the time when it came."""

    received_at: int
    mail: Mail


def mailer_for(url: str, clock: Clock = clocks.now) -> Mailer:
    """The mailer that a MAIL_URL names. Raises ConfigError, without the password that the URL may hold."""
    scheme, _, rest = url.partition(":")
    match scheme:
        case "smtp" | "smtps":
            return SmtpMailer(mail_server(url), clock)
        case "file":
            parsed = urlsplit(url)
            path = Path(unquote(parsed.path))
            if parsed.netloc or not path.is_absolute() or not path.name:
                raise ConfigError(
                    "MAIL_URL names no file. Example: ADMIT_MAIL_URL=file:///var/lib/admit/mails.jsonl"
                )
            return FileMailer(path, clock)
        case "inbox" if not rest:
            return InboxMailer(clock)
        case _:
            raise ConfigError(f"MAIL_URL is none of smtp://, smtps://, file:/// and inbox:. {EXAMPLE}")


class InboxMailer:
    """Keeps the newest mails in memory, the newest last, for the page that shows them while developing."""

    def __init__(self, clock: Clock = clocks.now) -> None:
        self._clock = clock
        self.mails: deque[ReceivedMail] = deque(maxlen=INBOX_MAILS_MAX)

    async def send(self, mail: Mail) -> None:
        refuse_inside_a_unit()
        compose(mail, self._clock())
        self.mails.append(ReceivedMail(self._clock(), mail))

    async def close(self) -> None:
        """There is nothing to close."""


class FileMailer:
    """Appends every mail to a file as one line of JSON, whole or not at all."""

    def __init__(self, path: Path, clock: Clock = clocks.now) -> None:
        self._path = path
        self._clock = clock

    async def send(self, mail: Mail) -> None:
        refuse_inside_a_unit()
        compose(mail, self._clock())
        written = WrittenMail(mail.to, mail.subject, mail.text, mail.html, mail.otp)
        try:
            await asyncio.to_thread(_append_line, self._path, msgspec.json.encode(written))
        except OSError as error:
            raise MailFailed(f"The file of MAIL_URL: {error.strerror}.", permanent=False) from error

    async def close(self) -> None:
        """There is nothing to close."""


def _append_line(path: Path, line: bytes) -> None:
    """Several processes may write to the file, and one of them may have died in the middle of a line."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        rest = (b"\n" if torn else b"") + line + b"\n"
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
