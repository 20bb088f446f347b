"""A page: one path below /manager, and one request for it as its module sees it."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from admit.errors import AdmitError, Conflict, InvalidRequest, NotFound
from admit.gateway import Gateway
from admit.operators.sessions import SignedIn
from admit.operators.tokens import OperatorToken
from admit.web.errors import status_of
from admit.web.manager import navigation, toasts
from admit.web.manager.forms import Form
from admit.web.manager.in_process import AdminApi
from admit.web.manager.navigation import Entry, Group
from admit.web.manager.rendering import Renderer
from admit.web.manager.toasts import Toast, Undo
from admit.web.operations import BODY_BYTES_MAX, Method, query_fields, unquoted

PREFIX = "/manager"
THEME_COOKIE = "admit-theme"
THEMES = ("", "light", "dark")

# What of a path a browser would take for a step up, or for none: written with a ~ in front. WHATWG URL §4.1.
_DOTS = re.compile(r"~*\.\.?")
_LINE_END = re.compile(r"\r\n|\r|\n")

T = TypeVar("T")

PageHandler = Callable[["Page"], Awaitable[Response]]


class PageRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A page, or what a form on it is posted to. `path` is below /manager.

    `nav`: the entry of the side that is current on it. `body_bytes_max`: of the form. `changes`: in a few
    words, what it changes by no operation of the admin API; "": nothing.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: PageHandler
    nav: str = ""
    body_bytes_max: int = BODY_BYTES_MAX
    changes: str = ""


def page(method: Literal["GET", "POST"], path: str, handler: PageHandler, **settings: Any) -> PageRoute:
    """A page for operators who have signed in."""
    return PageRoute(method=method, path=path, handler=handler, **settings)


def showing_refusals(
    handler: PageHandler, show: Callable[["Page", AdmitError], Awaitable[Response]], *more: type[AdmitError]
) -> PageHandler:
    """`handler`, whose refusals `show` puts on the page: of what was typed, of what is in its way or gone,
    and of `more` kinds."""
    kinds: tuple[type[AdmitError], ...] = (InvalidRequest, Conflict, NotFound, *more)

    async def shown(page: Page) -> Response:
        try:
            return await handler(page)
        except kinds as error:
            return await show(page, error)

    return shown


class House(msgspec.Struct, frozen=True):
    """What all pages share."""

    gateway: Gateway
    api: AdminApi
    renderer: Renderer


class Page:
    """One request of a signed-in operator."""

    def __init__(
        self, house: House, route: PageRoute, request: Request, signed_in: SignedIn, form: Form | None = None
    ) -> None:
        self.house = house
        self.gateway = house.gateway
        self.route = route
        self.request = request
        self.signed_in = signed_in
        self.now = house.gateway.clock()
        self._form = form

    @property
    def app(self) -> str:
        """The name of the app in the path; "" on a page of the whole house."""
        return self.param("app") if "app" in self.request.path_params else ""

    @property
    def csrf(self) -> str:
        """What every form of this session carries."""
        return self.signed_in.csrf

    @property
    def form(self) -> Form:
        """What was posted."""
        assert self._form is not None, "only a page that is posted to has a form"
        return self._form

    @property
    def wants_fragment(self) -> bool:
        """Whether htmx asks for a part of the page, to put it in the place of what is there."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def nav(self) -> list[Group]:
        """The groups of the side."""
        groups = navigation.IN_APP if self.app else navigation.OF_THE_HOUSE
        return navigation.visible(groups, self.signed_in.scopes)

    @property
    def theme(self) -> str:
        """light or dark where this browser has chosen; "": as the system."""
        chosen = self.request.cookies.get(THEME_COOKIE, "")
        return chosen if chosen in THEMES else ""

    @property
    def next_theme(self) -> str:
        """What a press on the choice of themes leads to."""
        return THEMES[(THEMES.index(self.theme) + 1) % len(THEMES)]

    @property
    def initials(self) -> str:
        """Two letters that stand for the operator."""
        operator = self.signed_in.operator
        words = (operator.name or operator.email).replace("@", " ").replace(".", " ").split()
        return "".join(each[0] for each in words[:2]).upper()

    def entry_url(self, entry: Entry) -> str:
        """The address of an entry of the side."""
        return self.here() + entry.path if self.app else self.url(entry.path)

    def may(self, scope: str) -> bool:
        """Whether the operator's role has `scope`. Hides what would be refused; the operations refuse."""
        return scope in self.signed_in.scopes

    def param(self, name: str) -> str:
        """A part of the path, decoded."""
        text = unquoted(self.request.path_params[name])
        return text[1:] if text.startswith("~") and _DOTS.fullmatch(text) else text

    def query(self, name: str, default: str = "") -> str:
        """A field of the query, without spaces at its ends. Raises InvalidRequest."""
        return query_fields(self.request).get(name, default).strip()

    def url(self, path: str, **query: object) -> str:
        """The address of a page: `path` below /manager, its parts encoded; empty fields are left out."""
        fields = {name: str(value) for name, value in query.items() if value not in (None, "", False)}
        return f"{PREFIX}{path}" + (f"?{urlencode(fields)}" if fields else "")

    def here(self, *parts: str, **query: object) -> str:
        """The address of a page of this app, by the parts of its path."""
        path = "/".join(("", "apps", *map(_segment, (self.app, *parts))))
        return self.url(path, **query)

    async def get(
        self, path: str, kind: type[T], query: Mapping[str, object] | None = None, **params: str
    ) -> T:
        """What GET of the admin API answers at `path`, a pattern such as `/apps/{app}/users/{user_id}`.

        `{app}` is that of the page. Raises AdmitError as the operation does.
        """
        return await self._call("GET", path, kind, query, msgspec.UNSET, params)

    async def send(
        self,
        method: Method,
        path: str,
        kind: type[T],
        body: object = msgspec.UNSET,
        query: Mapping[str, object] | None = None,
        **params: str,
    ) -> T:
        """What another method of the admin API answers; `NoneType` as `kind` for an answer without a body."""
        return await self._call(method, path, kind, query, body, params)

    async def together(self, *asked: Awaitable[Any]) -> list[Any]:
        """The answers to several questions, asked at the same time; the first refusal is raised."""
        return list(await asyncio.gather(*asked))

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A whole page. A toast that waited is on it, and told."""
        toast = self._toast()
        html = self.house.renderer.page(template, {"page": self, "toast": toast, **values})
        response = Response(html, status, media_type="text/html")
        if toast is not None:
            response.delete_cookie(toasts.COOKIE, path=PREFIX)
        return response

    def render_block(self, template: str, block: str, **values: Any) -> Response:
        """One block of a template, for htmx."""
        html = self.house.renderer.block(template, block, {"page": self, "toast": None, **values})
        return Response(html, media_type="text/html")

    def block(self, template: str, block: str, **values: Any) -> str:
        """One block of a template as text, such as for `stream`."""
        return self.house.renderer.block(template, block, {"page": self, "toast": None, **values})

    def go(self, to: str) -> Response:
        """Sends the browser on to a page, after a form (RFC 9110 §15.4.4)."""
        return RedirectResponse(to, 303)

    def done(self, to: str, sentence: str, undo: Undo | None = None) -> Response:
        """Sends the browser on and says what was done there, with a way to undo it where there is one."""
        response = self.go(to)
        value = toasts.written(self.gateway.ring, self.signed_in.session_id, Toast(sentence, undo))
        response.set_cookie(
            toasts.COOKIE,
            value,
            max_age=toasts.SECONDS_MAX,
            path=PREFIX,
            httponly=True,
            samesite="lax",
            secure=self.gateway.settings.public_url.startswith("https:"),
        )
        return response

    def status_of(self, refused: AdmitError | None) -> int:
        """The status of a page that shows why a form was refused, whose code the log then tells; else 200."""
        if refused is None:
            return 200
        self.request.scope["code"] = refused.code
        return status_of(refused)

    def stream(self, source: AsyncIterator[tuple[str, str] | tuple[str, str, str]]) -> Response:
        """Server-sent events: a type and a text, and what the browser sends as Last-Event-ID when it comes
        back after this one. The HTML standard §9.2."""

        async def told() -> AsyncIterator[bytes]:
            yield b": open\n\n"
            async for kind, text, *place in source:
                # A lone CR ends a line as well: what follows it would be a field of its own.
                lines = "".join(f"data: {line}\n" for line in _LINE_END.split(text))
                ids = "".join(f"id: {each}\n" for each in place)
                yield f"event: {kind}\n{ids}{lines}\n".encode()

        return StreamingResponse(told(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _call(
        self,
        method: Method,
        path: str,
        kind: type[T],
        query: Mapping[str, object] | None,
        body: object,
        params: Mapping[str, str],
    ) -> T:
        in_app = {"app": self.app} if "{app}" in path and "app" not in params else {}
        return await self.house.api.call(
            method,
            path,
            kind,
            operator=operator_of(self.signed_in),
            came_by=self.request,
            params={**in_app, **params},
            query=query,
            body=body,
        )

    def _toast(self) -> Toast | None:
        value = self.request.cookies.get(toasts.COOKIE)
        return None if value is None else toasts.read(self.gateway.ring, self.signed_in.session_id, value)


def _segment(part: str) -> str:
    """A part of a path, encoded."""
    return quote(f"~{part}" if _DOTS.fullmatch(part) else part, safe="")


def operator_of(signed_in: SignedIn) -> OperatorToken:
    """A signed-in operator, as the operations of the admin API know whoever calls them."""
    operator = signed_in.operator
    return OperatorToken(
        token_id=operator.operator_id,
        label=operator.email,
        app_id=None,
        scopes=signed_in.scopes,
        created_at=operator.created_at,
        expires_at=None,
    )
