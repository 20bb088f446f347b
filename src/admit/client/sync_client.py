"""The client for programs without asyncio: the same, run by a thread of its own."""

import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from admit.client.async_client import TIMEOUT_SECONDS, AsyncAdmitClient
from admit.client.current_user import CurrentUser
from admit.client.device_session import OnWipe
from admit.client.errors import AdmitError
from admit.client.observable import Observable
from admit.client.requests import PERSON_SCOPES, Claims, ClientToken, DeviceInfo, Intent, SentCode
from admit.clock import Clock, now


class AdmitClient:
    """`AsyncAdmitClient` for threads: open it with `with`, and use it from any of them.

    Arguments, errors and what is kept are the same. Subscribers and `on_wipe` are called in threads of the
    client.
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
        self._client = AsyncAdmitClient(
            url,
            directory=directory,
            device=device,
            on_wipe=on_wipe,
            tls=tls,
            timeout_seconds=timeout_seconds,
            allow_http=allow_http,
            clock=clock,
        )
        self._running = ExitStack()
        self._portal_if_open: BlockingPortal | None = None

    @property
    def url(self) -> str:
        """The database URL in its one form."""
        return self._client.url

    @property
    def current_user(self) -> Observable[CurrentUser | None]:
        """Who is signed in; None: nobody. Known offline too, as of the last refresh."""
        return self._client.current_user

    @property
    def problem(self) -> Observable[AdmitError | None]:
        """Why the last refresh did not work; None while all is well."""
        return self._client.problem

    def open(self) -> None:
        """Reads what is kept, without asking the server. Raises KeptFileError."""
        with ExitStack() as opening:
            portal = opening.enter_context(start_blocking_portal(name="admit-client"))
            portal.call(self._client.open)
            opening.callback(portal.call, self._client.close)
            self._running = opening.pop_all()
        self._portal_if_open = portal

    def close(self) -> None:
        """Ends what is under way. The person stays signed in."""
        self._portal_if_open = None
        self._running.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send_code(self, email: str, *, intent: Intent | None = None) -> SentCode:
        """As `AsyncAdmitClient.send_code`."""
        return self._portal.call(lambda: self._client.send_code(email, intent=intent))

    def sign_in_with_code(self, sent: SentCode, code: str) -> CurrentUser:
        """As `AsyncAdmitClient.sign_in_with_code`."""
        return self._portal.call(self._client.sign_in_with_code, sent, code)

    def sign_in_with_link(self, link: str) -> CurrentUser:
        """As `AsyncAdmitClient.sign_in_with_link`."""
        return self._portal.call(self._client.sign_in_with_link, link)

    def sign_in_with_client(
        self, client_id: str, client_secret: str, claims: Claims, *, scopes: Sequence[str] = PERSON_SCOPES
    ) -> CurrentUser:
        """As `AsyncAdmitClient.sign_in_with_client`."""
        return self._portal.call(
            lambda: self._client.sign_in_with_client(client_id, client_secret, claims, scopes=scopes)
        )

    def sign_in_as_demo(self, demo_user: str) -> CurrentUser:
        """As `AsyncAdmitClient.sign_in_as_demo`."""
        return self._portal.call(self._client.sign_in_as_demo, demo_user)

    def client_token(self, client_id: str, client_secret: str, *, scopes: Sequence[str] = ()) -> ClientToken:
        """As `AsyncAdmitClient.client_token`."""
        return self._portal.call(lambda: self._client.client_token(client_id, client_secret, scopes=scopes))

    def access_token(self) -> str:
        """As `AsyncAdmitClient.access_token`."""
        return self._portal.call(self._client.access_token)

    def refresh(self) -> CurrentUser:
        """As `AsyncAdmitClient.refresh`."""
        return self._portal.call(self._client.refresh)

    def device_id(self) -> str:
        """As `AsyncAdmitClient.device_id`."""
        return self._portal.call(self._client.device_id)

    def sign_out(self) -> None:
        """As `AsyncAdmitClient.sign_out`."""
        self._portal.call(self._client.sign_out)

    @property
    def _portal(self) -> BlockingPortal:
        if self._portal_if_open is None:
            raise RuntimeError("The client is not open. Use it in `with`.")
        return self._portal_if_open
