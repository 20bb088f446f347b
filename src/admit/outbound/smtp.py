"""Mails by SMTP, each through a connection that is tried before it is used again."""

import asyncio
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import aiosmtplib
import msgspec

from admit.clock import Clock
from admit.errors import ConfigError
from admit.outbound.addresses import EgressPolicy
from admit.outbound.gate import refuse_inside_a_unit
from admit.outbound.message import Mail, MailFailed, Message, compose

CONNECTIONS_MAX = 8
MAILS_PER_CONNECTION_MAX = 20
IDLE_SECONDS_MAX = 15.0
STEP_SECONDS_MAX = 15.0
SEND_SECONDS_MAX = 40.0
EXAMPLE = "Example: ADMIT_MAIL_URL=smtp://user:password@mail.example.com:587?starttls=required"

# Not about this mail: the server wants encryption or a login first (RFC 4954 §6, RFC 3207 §4).
_WRONG_SETUP = frozenset({530, 534, 535, 538})


class MailServer(msgspec.Struct, frozen=True):
    """A mail server out of MAIL_URL. `tls`: from the first byte; `starttls`: when the server offers it,
    always, or never."""

    host: str
    port: int
    tls: bool
    starttls: Literal["offered", "required", "off"]
    user: str | None
    password: str

    def __repr__(self) -> str:
        return f"MailServer({self.host}:{self.port})"


def mail_server(url: str) -> MailServer:
    """The server that an smtp:// or smtps:// URL names. Raises ConfigError, without the password."""
    try:
        parsed = urlsplit(url)
        host, port = parsed.hostname, parsed.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(f"MAIL_URL names no mail server. {EXAMPLE}")
    options = dict(parse_qsl(parsed.query, keep_blank_values=True))
    user = unquote(parsed.username) if parsed.username else None
    tls = parsed.scheme == "smtps"
    # A password is never sent in the clear unless the operator says so.
    starttls = options.pop("starttls", "required" if user and not tls else "offered")
    if options or starttls not in ("offered", "required", "off") or parsed.path not in ("", "/"):
        raise ConfigError(
            "MAIL_URL has something behind the host that is not ?starttls=required, offered or off. "
            f"{EXAMPLE}"
        )
    default_port = 465 if tls else 587 if user else 25
    return MailServer(
        host=host,
        port=port or default_port,
        tls=tls,
        starttls="off" if tls else starttls,  # type: ignore[arg-type]  # checked above
        user=user,
        password=unquote(parsed.password or ""),
    )


class SmtpMailer:
    """Sends over CONNECTIONS_MAX connections at most and keeps them for the next mails.

    `tls` replaces the machine's own certificate authorities. `egress` says which addresses may be reached at
    all, for a server that is an app's own; None for the one of MAIL_URL, which the operator has named.
    """

    def __init__(
        self,
        server: MailServer,
        clock: Clock,
        *,
        tls: ssl.SSLContext | None = None,
        egress: EgressPolicy | None = None,
    ) -> None:
        self._server = server
        self._egress = egress
        self._clock = clock
        self._tls = tls
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self._idle: deque[_Line] = deque()
        self._local_hostname: str | None = None

    async def send(self, mail: Mail) -> None:
        """Returns when the server has taken the mail over. Raises MailFailed; a connection that is lost
        before the server's last word counts as temporary, although the mail may have been accepted."""
        refuse_inside_a_unit()
        message = compose(mail, self._clock())
        async with self._slots:
            line: _Line | None = None
            try:
                async with asyncio.timeout(SEND_SECONDS_MAX):
                    line = await self._connected()
                    await _hand_over(line.client, message)
            except (aiosmtplib.SMTPException, OSError, ValueError) as error:
                raise _failure(error, self._server) from error
            else:
                line.mails += 1
                self._keep(line)
                line = None
            finally:
                if line is not None:
                    line.client.close()

    async def close(self) -> None:
        """Closes the connections that are kept."""
        while self._idle:
            self._idle.pop().close()

    async def _connected(self) -> "_Line":
        """A kept connection that still answers, or a new one."""
        while self._idle:
            line = self._idle.pop()
            line.stop_waiting()
            try:
                await line.client.noop(timeout=STEP_SECONDS_MAX)
            except (aiosmtplib.SMTPException, OSError):
                line.client.close()
            else:
                return line
        server = self._server
        dialled = None if self._egress is None else await _dial(server, self._egress)
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port if dialled is None else None,
            sock=dialled,
            username=server.user,
            password=server.password if server.user else None,
            use_tls=server.tls,
            start_tls={"offered": None, "required": True, "off": False}[server.starttls],
            tls_context=self._tls,
            timeout=STEP_SECONDS_MAX,
            local_hostname=self._local_hostname,
        )
        try:
            await client.connect()
        except BaseException:
            if dialled is not None:
                dialled.close()
            raise
        # Asking the resolver for our own name can take seconds; once is enough.
        self._local_hostname = client.local_hostname
        return _Line(client)

    def _keep(self, line: "_Line") -> None:
        if line.mails >= MAILS_PER_CONNECTION_MAX or not line.client.is_connected:
            line.client.close()
            return
        self._idle.append(line)
        line.wait(self._idle)


@dataclass(eq=False)
class _Line:
    """A connection to the server, and its end when nobody needs it for IDLE_SECONDS_MAX."""

    client: aiosmtplib.SMTP
    mails: int = 0
    _end: asyncio.TimerHandle | None = None

    def wait(self, idle: "deque[_Line]") -> None:
        def end() -> None:
            idle.remove(self)
            self.client.close()

        self._end = asyncio.get_running_loop().call_later(IDLE_SECONDS_MAX, end)

    def stop_waiting(self) -> None:
        if self._end is not None:
            self._end.cancel()

    def close(self) -> None:
        self.stop_waiting()
        self.client.close()


async def _dial(server: MailServer, egress: EgressPolicy) -> socket.socket:
    """A connection to an address that may be reached. Raises MailFailed when one of the name's may not be.

    The address that was looked at is the one that is dialled: the name is not resolved again.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(STEP_SECONDS_MAX):
        found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        for _, _, _, _, place in found:
            if (refusal := egress.refusal(server.host, str(place[0]), server.port)) is not None:
                raise MailFailed(refusal, permanent=False)
        trouble: OSError = OSError("its name has no address")
        for family, kind, protocol, _, place in found:
            dialled = socket.socket(family, kind, protocol)
            dialled.setblocking(False)
            try:
                await loop.sock_connect(dialled, place)
            except OSError as error:
                trouble = error
                dialled.close()
            except BaseException:
                dialled.close()
                raise
            else:
                return dialled
    raise trouble


async def _hand_over(client: aiosmtplib.SMTP, message: Message) -> None:
    await client.sendmail(
        message.sender,
        [message.to],
        message.content,
        mail_options=["SMTPUTF8"] if message.needs_utf8 else [],
    )


def _failure(error: Exception, server: MailServer) -> MailFailed:
    """What `error` means for the mail. Only what a server said before it saw the mail is quoted."""
    host = server.host
    match error:
        case aiosmtplib.SMTPRecipientsRefused(recipients=[refused, *_]):
            return MailFailed(
                f"{host} does not take mail for this address: {_quoted(refused)}",
                permanent=refused.code >= 500,
            )
        case aiosmtplib.SMTPSenderRefused():
            return MailFailed(
                f"{host} does not take mail from this sender: {_quoted(error)}",
                permanent=error.code >= 500 and error.code not in _WRONG_SETUP,
            )
        case aiosmtplib.SMTPDataError():
            return MailFailed(f"{host} refused the mail with {error.code}.", permanent=error.code >= 500)
        case aiosmtplib.SMTPNotSupported():
            return MailFailed(f"{host} cannot deliver to addresses such as this one.", permanent=True)
        case aiosmtplib.SMTPAuthenticationError():
            return MailFailed(
                f"{host} refused the user or the password of its URL: {_quoted(error)}", permanent=False
            )
        case aiosmtplib.SMTPResponseException():
            return MailFailed(f"{host} refused: {_quoted(error)}", permanent=False)
        case ssl.SSLError() | aiosmtplib.SMTPException(__cause__=ssl.SSLError()):
            remedy = (
                ""
                if server.tls
                else " If it is a relay that you trust, add ?starttls=off to its URL (MAIL_URL)."
            )
            return MailFailed(f"There is no TLS connection to {host}: {error}.{remedy}", permanent=False)
        case TimeoutError():
            return MailFailed(f"{host} did not answer in time.", permanent=False)
        case ValueError():
            return MailFailed("The address of the recipient is not a mail address.", permanent=True)
        case _:
            return MailFailed(f"There is no connection to {host}: {error}", permanent=False)


def _quoted(error: aiosmtplib.SMTPResponseException) -> str:
    return f"{error.code} {' '.join(error.message.split())[:200]}"
