"""What is asked of every request to a page: whose session it is, and whether its form is really theirs."""

import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

from admit.config import Settings
from admit.errors import Forbidden
from admit.gateway import Gateway
from admit.operators import sessions
from admit.operators.sessions import SignedIn
from admit.web.hosts import asked_host, own_host, plain_host
from admit.web.manager.forms import Form, read_form
from admit.web.operations import read_body

CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    # With no-referrer, browsers say Origin: null of our own forms. Fetch standard §3.2.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What every page says beside what every answer of this server says."""


async def signed_in_by(gateway: Gateway, request: Request) -> SignedIn | None:
    """Whose session the cookie of `request` is; None: nobody's."""
    cookie = request.cookies.get(sessions.cookie_name(gateway.settings.public_url))
    if not cookie:
        return None
    return await sessions.find_session(gateway.db, gateway.ring, cookie, gateway.clock())


async def form_of(request: Request, bytes_max: int, settings: Settings) -> Form:
    """The form of `request`. Raises InvalidRequest, TooLarge, and Forbidden where another site sent it."""
    check_same_origin(request, settings)
    return await read_form(request.headers, await read_body(request, bytes_max))


def check_same_origin(request: Request, settings: Settings) -> None:
    """Raises Forbidden unless the browser says that a page of ours has sent this.

    Every browser of today says so in Sec-Fetch-Site; the others in Origin. Fetch Metadata §2.4, Fetch §3.2.
    Ours are the pages at PUBLIC_URL, whatever a proxy makes of Host, and at the host that was asked.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin", "")
    ours = {own_host(settings), asked_host(request.scope, settings.trusted_proxies)}
    own = origin != "" and _host_of(origin) in ours - {""}
    if site not in (None, "same-origin") or (site is None and not own) or (origin and not own):
        raise Forbidden("This form was sent from another site. Open the page here and send it again.")


def _host_of(origin: str) -> str:
    """The host that an Origin names; "": none."""
    try:
        return plain_host(urlsplit(origin).netloc)
    except ValueError:
        return ""


def check_csrf(request: Request, form: Form, csrf: str) -> None:
    """Raises Forbidden unless the form carries the token of the session that sends it."""
    given = request.headers.get(CSRF_HEADER) or form.text(CSRF_FIELD)
    if not hmac.compare_digest(given.encode(), csrf.encode()):
        raise Forbidden(
            "This form belongs to a session that has ended. Load the page anew and send it again."
        )
