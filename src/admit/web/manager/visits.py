"""Pages of those who have not signed in, such as the sign-in page itself.

Each browser has a visit: a random name in a cookie, which its forms and challenges are bound to, so that
nobody is signed in as somebody else by a page of another site (login CSRF).
"""

import base64
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admit import clock
from admit.errors import AdmitError, Forbidden
from admit.operators import sessions
from admit.operators.entrance import Came
from admit.operators.sessions import SignedIn
from admit.storage.sealing import KeyRing
from admit.web.errors import INTERNAL, MethodNotAllowed, answer_for, headers_for, status_of
from admit.web.manager.forms import Form
from admit.web.manager.guards import CSRF_FIELD, CSRF_HEADER, PAGE_HEADERS, form_of, signed_in_by
from admit.web.manager.pages import PREFIX, THEME_COOKIE, THEMES, House
from admit.web.operations import ClientGone, unquoted

COOKIE = "admit-visit"
FORM_BYTES_MAX = 65_536

_NAME = re.compile(r"[A-Za-z0-9_-]{43}")
_CSRF = "operator-visit-csrf"

log = structlog.get_logger("admit.web")

VisitHandler = Callable[["Visit"], Awaitable[Response]]


class Visit:
    """One request of a browser in which perhaps nobody is signed in."""

    def __init__(self, house: House, request: Request, signed_in: SignedIn | None, form: Form | None) -> None:
        self.house = house
        self.gateway = house.gateway
        self.request = request
        self.signed_in = signed_in
        self.now = house.gateway.clock()
        self._brought = _brought(request, self._cookie_name)
        self.name = self._brought or clock.new_secret()
        self._form = form

    @property
    def csrf(self) -> str:
        """What every form of this visit carries."""
        return _csrf(self.gateway.ring, self.name)

    @property
    def theme(self) -> str:
        """The theme that this browser has chosen."""
        chosen = self.request.cookies.get(THEME_COOKIE, "")
        return chosen if chosen in THEMES else ""

    @property
    def form(self) -> Form:
        """What was posted."""
        assert self._form is not None, "only a page that is posted to has a form"
        return self._form

    @property
    def came(self) -> Came:
        """From where they come, as whoever lets them in wants to know it."""
        client = self.request.client
        return Came(
            visit=self.name,
            address=client.host if client else "",
            user_agent=self.request.headers.get("user-agent", ""),
            replaces="" if self.signed_in is None else self.signed_in.session_id,
        )

    def param(self, name: str) -> str:
        """A part of the path, decoded."""
        return unquoted(self.request.path_params[name])

    def url(self, path: str) -> str:
        """The address of a page: `path` below /manager."""
        return f"{PREFIX}{path}"

    def check_csrf(self) -> None:
        """Raises Forbidden unless the form comes from a page that this visit has looked at."""
        given = self.request.headers.get(CSRF_HEADER) or self.form.text(CSRF_FIELD)
        if not self._brought or not hmac.compare_digest(given.encode(), self.csrf.encode()):
            raise Forbidden("This page is too old, or cookies are not allowed. Load it anew and try again.")

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A whole page."""
        html = self.house.renderer.page(template, {"page": self, **values})
        response = Response(html, status, media_type="text/html")
        if not self._brought:
            self._set_cookie(response, self._cookie_name, self.name, None)
        return response

    def lead(self, to: str) -> Response:
        """Sends the browser to a provider, from where it comes back with the same visit."""
        response = RedirectResponse(to, 302)
        if not self._brought:
            self._set_cookie(response, self._cookie_name, self.name, None)
        return response

    def let_in(self, cookie: str, to: str) -> Response:
        """Sends the browser on, signed in. The visit is over: its forms and challenges are good no more."""
        response = RedirectResponse(to, 303)
        name = sessions.cookie_name(self.gateway.settings.public_url)
        self._set_cookie(response, name, cookie, sessions.LIFE_MS // 1_000)
        self._set_cookie(response, self._cookie_name, "", 0)
        return response

    def _set_cookie(self, response: Response, name: str, value: str, max_age: int | None) -> None:
        """Lax: links in mails lead to a page where one is signed in; forms of elsewhere bring no cookie."""
        secure = self.gateway.settings.public_url.startswith("https:")
        response.set_cookie(
            name, value, max_age=max_age, path="/", httponly=True, samesite="lax", secure=secure
        )

    @property
    def _cookie_name(self) -> str:
        secure = self.gateway.settings.public_url.startswith("https:")
        return f"__Host-{COOKIE}" if secure else COOKIE


class VisitDoor:
    """One path for everybody, and its pages by method."""

    def __init__(self, house: House, pages: Mapping[str, VisitHandler]) -> None:
        self._house = house
        self._pages = pages

    async def __call__(self, request: Request) -> Response:
        visit = Visit(self._house, request, await signed_in_by(self._house.gateway, request), None)
        try:
            response = await self._answer(request, visit.signed_in)
        except ClientGone:
            raise
        except Exception as error:
            response = _refusal(visit, error)
        response.headers.update(PAGE_HEADERS)
        return response

    async def _answer(self, request: Request, signed_in: SignedIn | None) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        handler = self._pages.get(method)
        if handler is None:
            raise MethodNotAllowed(", ".join(self._pages))
        settings = self._house.gateway.settings
        form = await form_of(request, FORM_BYTES_MAX, settings) if method == "POST" else None
        visit = Visit(self._house, request, signed_in, form)
        if method == "POST":
            visit.check_csrf()
        return await handler(visit)


def _refusal(visit: Visit, error: Exception) -> Response:
    """What went wrong: in JSON for our script, else as a page."""
    known = error if isinstance(error, AdmitError) else AdmitError(INTERNAL.message)
    status = status_of(known)
    if status == 500:
        log.error("request.failed", route=visit.request.scope.get("pattern", ""), exc_info=error)
    visit.request.scope["code"] = known.code
    if "application/json" in visit.request.headers.get("accept", ""):
        return answer_for(known)
    sentence = INTERNAL.message if status == 500 else known.message
    response = visit.render("stopped.html", status, sentence=sentence, code=known.code)
    response.headers.update(headers_for(known))
    return response


def _brought(request: Request, name: str) -> str:
    value = request.cookies.get(name, "")
    return value if _NAME.fullmatch(value) else ""


def _csrf(ring: KeyRing, visit: str) -> str:
    return base64.urlsafe_b64encode(ring.mac(_CSRF, visit.encode())).rstrip(b"=").decode()
