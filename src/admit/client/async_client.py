"""The client for asyncio: signs a person in on this device, and keeps them signed in."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import platformdirs

from admit.client import database_url
from admit.client.current_user import CurrentUser, Tokens
from admit.client.device_session import DeviceSession, OnWipe
from admit.client.errors import AdmitError
from admit.client.kept_file import KeptFile
from admit.client.observable import Observable
from admit.client.requests import (
    ENROLLMENT_TOKEN,
    PERSON_SCOPES,
    Claims,
    ClientToken,
    DeviceInfo,
    Intent,
    OtpSent,
    SentCode,
    TokenRequest,
    enrollment_token_of,
)
from admit.client.wire import Wire, read
from admit.clock import Clock, now

TIMEOUT_SECONDS = 60.0


class AsyncAdmitClient:
    """A client of the app at `url`, its database URL. Open it with `async with`, and keep it open.

    While it is open, it refreshes the session by itself, 5 minutes before the access token ends. The device's
    identifier and key and the session are kept in a file for this account only, in the platform's folder for
    data or in `directory`; they outlive the process, and processes that use the same file share the session.

    `device`: what the operator is told about this device. `on_wipe`: erases what the program keeps of the
    person; it may be called again, and must not use the client. `tls` replaces the machine's certificate
    authorities. `allow_http` allows plain http also to other machines. `clock` is this machine's. Raises
    WrongAddress.
    """

    def __init__(
        self,
        url: str,
        *,
        directory: Path | None = None,
        device: DeviceInfo | None = None,
        on_wipe: OnWipe | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        allow_http: bool = False,
        clock: Clock = now,
    ) -> None:
        self.url = database_url.checked(url, allow_http=allow_http)
        folder = directory or platformdirs.user_data_path("admit", appauthor=False)
        file = KeptFile(folder / database_url.file_name(self.url))
        self._session = DeviceSession(file, device or DeviceInfo(), on_wipe)
        self._tls = tls
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    @property
    def current_user(self) -> Observable[CurrentUser | None]:
        """Who is signed in; None: nobody. Known offline too, as of the last refresh."""
        return self._session.current_user

    @property
    def problem(self) -> Observable[AdmitError | None]:
        """Why the last refresh did not work; None while all is well."""
        return self._session.problem

    async def open(self) -> None:
        """Reads what is kept, without asking the server. Raises KeptFileError."""
        await self._session.open(self._connect)

    async def close(self) -> None:
        """Ends what is under way. The person stays signed in."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send_code(self, email: str, *, intent: Intent | None = None) -> SentCode:
        """Mails a code to `email`. `intent`: "login" refuses the unknown, "register" welcomes nobody else."""
        request = TokenRequest(grant_type="otp", email=email, scopes=PERSON_SCOPES, intent=intent)
        sent = read(await self._session.wire.post("token", request), OtpSent)
        return SentCode(email=email, otp_id=sent.otp_id, intent=intent)

    async def sign_in_with_code(self, sent: SentCode, code: str) -> CurrentUser:
        """Signs in who could read the mail. Raises WrongCode: type the code of the same mail again."""
        return await self._session.begin(
            TokenRequest(
                grant_type="otp",
                email=sent.email,
                otp_id=sent.otp_id,
                otp=code.strip(),
                intent=sent.intent,
                scopes=PERSON_SCOPES,
            )
        )

    async def sign_in_with_link(self, link: str) -> CurrentUser:
        """Signs in by an enrollment link (`…#enrollment_token=…`) of the operator, or by its token alone."""
        token = enrollment_token_of(link)
        return await self._session.begin(
            TokenRequest(grant_type=ENROLLMENT_TOKEN, enrollment_token=token, scopes=PERSON_SCOPES)
        )

    async def sign_in_with_client(
        self, client_id: str, client_secret: str, claims: Claims, *, scopes: Sequence[str] = PERSON_SCOPES
    ) -> CurrentUser:
        """Signs in the person for whom an API client vouches. The client needs IMPERSONATE."""
        return await self._session.begin(
            TokenRequest(
                grant_type="client_credentials",
                client_id=client_id,
                client_secret=client_secret,
                claims=claims,
                scopes=tuple(scopes),
            )
        )

    async def sign_in_as_demo(self, demo_user: str) -> CurrentUser:
        """Signs in as a demo user, whose address ends in `@demo.local`."""
        return await self._session.begin(
            TokenRequest(grant_type="demo", demo_user=demo_user, scopes=PERSON_SCOPES)
        )

    async def client_token(
        self, client_id: str, client_secret: str, *, scopes: Sequence[str] = ()
    ) -> ClientToken:
        """A token of the API client for itself. Nobody is signed in by it, and nothing is kept."""
        request = TokenRequest(
            grant_type="client_credentials",
            client_id=client_id,
            client_secret=client_secret,
            scopes=tuple(scopes),
        )
        tokens = read(await self._session.wire.post("token", request), Tokens)
        granted = tuple(str(scope) for scope in tokens.claims.get("scopes", ()))
        return ClientToken(tokens.access_token, tokens.access_token_expiration, granted)

    async def access_token(self) -> str:
        """A token for requests, good for some minutes; refreshed first where it is not.

        Raises NotSignedIn, SessionOver, CannotReach. In the last minutes of a token it needs no server.
        """
        return (await self._session.fresh()).access_token

    async def refresh(self) -> CurrentUser:
        """Refreshes now: the person as the server knows them. Raises as `access_token` does."""
        return (await self._session.renew(even_if_fresh=True)).user

    async def device_id(self) -> str:
        """The identifier of this device for the app, which survives signing out. Raises KeptFileError."""
        return await self._session.device_id()

    async def sign_out(self) -> None:
        """Signs the person out here, at once. A server that cannot be reached is told once it can be."""
        await self._session.end()

    def _connect(self, skew_ms: int) -> Wire:
        return Wire(
            self.url, self._clock, timeout_seconds=self._timeout_seconds, tls=self._tls, skew_ms=skew_ms
        )
