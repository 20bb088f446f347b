"""The way to every page: who is signed in, whether a form is really theirs, and what an error looks like."""

import functools
from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admit.errors import AdmitError, InvalidRequest
from admit.gateway import Gateway
from admit.operators.sessions import SignedIn
from admit.web.audit import Audit
from admit.web.errors import INTERNAL, MethodNotAllowed, answer_for, headers_for, status_of
from admit.web.manager import own_changes, routes
from admit.web.manager.assets import Assets
from admit.web.manager.guards import PAGE_HEADERS, check_csrf, form_of, signed_in_by
from admit.web.manager.in_process import AdminApi
from admit.web.manager.pages import PREFIX, House, Page, PageRoute
from admit.web.manager.rendering import Renderer
from admit.web.operations import ClientGone, Operation
from admit.web.paths import Endpoint

SIGN_IN = f"{PREFIX}/sign-in"

log = structlog.get_logger("admit.web")


def endpoints(gateway: Gateway, operations: Iterable[Operation], audit: Audit) -> list[tuple[str, Endpoint]]:
    """The pages, by their patterns."""
    assets, renderer = _furniture()
    house = House(gateway, AdminApi(gateway, operations, audit), renderer)
    by_path: defaultdict[str, dict[str, PageRoute]] = defaultdict(dict)
    for each in routes.PAGES:
        assert each.method not in by_path[each.path], f"{each.path} is told twice"
        by_path[each.path][each.method] = each
    return [
        (f"{PREFIX}/static/{{digest}}/{{name}}", assets),
        *routes.before_sign_in(house),
        *((f"{PREFIX}{path}", Door(house, by_method)) for path, by_method in by_path.items()),
    ]


@functools.cache
def _furniture() -> tuple[Assets, Renderer]:
    """Files and templates, read once in a process however many servers it makes."""
    assets = Assets(f"{PREFIX}/static")
    return assets, Renderer(assets)


class Door:
    """One path and its pages, by method."""

    def __init__(self, house: House, pages: dict[str, PageRoute]) -> None:
        self._house = house
        self._pages = pages

    async def __call__(self, request: Request) -> Response:
        signed_in = await signed_in_by(self._house.gateway, request)
        if signed_in is None:
            return _to_sign_in(request)
        try:
            response = await self._answer(request, signed_in)
        except ClientGone:
            raise
        except Exception as error:
            response = self._refusal(request, signed_in, error)
        for name, value in PAGE_HEADERS.items():
            response.headers.setdefault(name, value)  # a page that frames, or is framed, says so itself
        return response

    async def _answer(self, request: Request, signed_in: SignedIn) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        route = self._pages.get(method)
        if route is None:
            raise MethodNotAllowed(", ".join(self._pages))
        form = None
        if method == "POST":
            form = await form_of(request, route.body_bytes_max, self._house.gateway.settings)
            check_csrf(request, form, signed_in.csrf)
        page = Page(self._house, route, request, signed_in, form)
        if not route.changes:
            return await route.handler(page)
        return await own_changes.watched(page)

    def _refusal(self, request: Request, signed_in: SignedIn, error: Exception) -> Response:
        """The page that says what went wrong."""
        known = error if isinstance(error, AdmitError) else AdmitError(INTERNAL.message)
        status = status_of(known)
        if status == 500:
            log.error("request.failed", route=request.scope.get("pattern", ""), exc_info=error)
        request.scope["code"] = known.code
        route = next(iter(self._pages.values()))
        page = Page(self._house, route, request, signed_in)
        sentence = INTERNAL.message if status == 500 else known.message
        try:
            response = page.render(
                "refusal.html", status, sentence=sentence, code=known.code, status_code=status
            )
        except InvalidRequest:  # the path cannot be read, and so the side cannot be drawn
            return answer_for(known)
        response.headers.update(headers_for(known))
        return response


def _to_sign_in(request: Request) -> Response:
    """To the sign-in page, and back to this one afterwards where it is one to look at."""
    if request.headers.get("hx-request") == "true":
        return Response(status_code=204, headers={"HX-Redirect": SIGN_IN})
    if request.method not in ("GET", "HEAD"):
        return RedirectResponse(SIGN_IN, 303)
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': path})}", 303)
