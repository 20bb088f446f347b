"""Which web pages may read our answers: those of the app's allowed origins, on errors as well."""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Scope

from admit.accounts.apps import App
from admit.errors import AdmitError

MAX_AGE_SECONDS = 7_200

FindApp = Callable[[str], Awaitable[App]]
Headers = list[tuple[bytes, bytes]]

_VARY = (b"vary", b"Origin")
_EXPOSED = (
    b"access-control-expose-headers",
    b"Link, Ratelimit-Limit, Ratelimit-Remaining, Ratelimit-Reset, Retry-After, X-Run-Id",
)
_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Idempotency-Key, X-Device-Id, X-Device-Label, X-Device-Platform",
    ),
    (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
)


async def marks_for(scope: Scope, find_app: FindApp) -> Headers:
    """The headers that let the page of the request read its answer, or do not. Fetch standard §3.2."""
    origin = _header(scope, b"origin")
    if not origin:
        return [_VARY]
    segments = scope["path"].split("/", 3)
    if not await _is_allowed(find_app, segments[1], origin):
        return [_VARY]
    marks = [(b"access-control-allow-origin", origin), _EXPOSED, _VARY]
    if len(segments) > 2 and segments[2] == "sync":
        # Only the addon's sync sends cookies (of load balancers), and only there they may come along.
        marks.append((b"access-control-allow-credentials", b"true"))
    return marks


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks if it may ask. Fetch standard §3.2.2."""
    return (
        scope["method"] == "OPTIONS"
        and _header(scope, b"origin") != b""
        and _header(scope, b"access-control-request-method") != b""
    )


def preflight_answer(marks: Headers) -> Response:
    """The answer to a preflight of a page with `marks`."""
    response = Response(status_code=204)
    if marks != [_VARY]:
        response.raw_headers += _PREFLIGHT
    return response


async def _is_allowed(find_app: FindApp, app_name: str, origin: bytes) -> bool:
    """`null` is every sandboxed page and every file, so it is never anybody."""
    if origin == b"null" or not app_name:
        return False
    try:
        app = await find_app(app_name)
    except AdmitError:
        return False
    return origin.decode("latin-1") in app.origins


def _header(scope: Scope, name: bytes) -> bytes:
    """The only value of a header; empty where it is absent or stands twice."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0] if len(values) == 1 else b""
