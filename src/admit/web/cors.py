"""Which web pages may read our answers: those of the app's allowed origins, on errors as well."""

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admit.accounts.apps import App
from admit.errors import AdmitError

MAX_AGE_SECONDS = 7_200

FindApp = Callable[[str], Awaitable[App]]

_VARY = (b"vary", b"Origin")
_EXPOSED = (
    b"access-control-expose-headers",
    b"Ratelimit-Limit, Ratelimit-Remaining, Ratelimit-Reset, Retry-After",
)
_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE"),
    (b"access-control-allow-headers", b"Authorization, Content-Type"),
    (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
)


class Cors:
    """Fetch standard §3.2. Answers preflights and marks every other answer for the origin that asks."""

    def __init__(self, inner: ASGIApp, find_app: FindApp) -> None:
        self._inner = inner
        self._find_app = find_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        origin = _header(scope, b"origin")
        segments = scope["path"].split("/", 3)
        # Only the addon's sync sends cookies (of load balancers), and only there they may come along.
        credentials = len(segments) > 2 and segments[2] == "sync"
        allowed = bool(origin) and await self._allows(segments[1], origin)
        marks = _marks(origin, credentials=credentials) if allowed else [_VARY]
        if scope["method"] == "OPTIONS" and origin and _header(scope, b"access-control-request-method"):
            await _answer_preflight(send, [*marks, *_PREFLIGHT] if allowed else marks)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *marks]
            await send(message)

        await self._inner(scope, receive, send_marked)

    async def _allows(self, app_name: str, origin: bytes) -> bool:
        """`null` is every sandboxed page and every file, so it is never anybody."""
        if origin == b"null" or not app_name:
            return False
        try:
            app = await self._find_app(app_name)
        except AdmitError:
            return False
        return origin.decode("latin-1") in app.origins


def _marks(origin: bytes, *, credentials: bool) -> list[tuple[bytes, bytes]]:
    marks = [(b"access-control-allow-origin", origin), _EXPOSED, _VARY]
    return [*marks, (b"access-control-allow-credentials", b"true")] if credentials else marks


async def _answer_preflight(send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _header(scope: Scope, name: bytes) -> bytes:
    """The only value of a header; empty where it is absent or stands twice."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0] if len(values) == 1 else b""
