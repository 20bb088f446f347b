"""/manager/sign-in: by a passkey, by a password, or by the provider of OPERATOR_SSO; and out again."""

from urllib.parse import urlencode, urlsplit

from starlette.responses import RedirectResponse, Response

from admit.errors import AdmitError, RateLimited, Unauthorized, Unavailable
from admit.operators import sessions
from admit.signin.providers.faults import called
from admit.web.errors import headers_for, status_of
from admit.web.manager.pages import PREFIX, House, Page, PageRoute, page
from admit.web.manager.visits import Visit, VisitDoor
from admit.web.operations import query_fields
from admit.web.operator_sso import vouching_provider
from admit.web.paths import Endpoint


async def show(visit: Visit) -> Response:
    """The sign-in page. Whoever is signed in goes on, unless they are to prove once more who they are."""
    asked = query_fields(visit.request)
    to, again = inside(asked.get("next", "")), asked.get("again", "") == "1"
    if visit.signed_in is not None and not again:
        return RedirectResponse(to, 303)
    return await sign_in_page(visit, to)


async def by_password(visit: Visit) -> Response:
    """Signs in by email and password."""
    email, to = visit.form.text("email"), inside(visit.form.text("next"))
    try:
        cookie = await visit.gateway.entrance.by_password(email, visit.form.verbatim("password"), visit.came)
    except (Unauthorized, RateLimited, Unavailable) as error:
        return await sign_in_page(visit, to, error, email=email)
    return visit.let_in(cookie, to)


async def passkey_options(visit: Visit) -> Response:
    """What our script gives to navigator.credentials.get."""
    return Response(await visit.gateway.entrance.passkey_options(visit.came), media_type="application/json")


async def by_passkey(visit: Visit) -> Response:
    """Signs in by what an authenticator has answered."""
    to = inside(visit.form.text("next"))
    try:
        cookie = await visit.gateway.entrance.by_passkey(visit.form.text("credential"), visit.came)
    except (Unauthorized, RateLimited, Unavailable) as error:
        return await sign_in_page(visit, to, error)
    return visit.let_in(cookie, to)


async def sign_out(page: Page) -> Response:
    """Ends the session of this browser."""
    session_id = page.signed_in.session_id
    await page.gateway.db.write(lambda tx: sessions.end_session(tx, session_id))
    response = page.go(page.url("/sign-in"))
    public_url = page.gateway.settings.public_url
    response.delete_cookie(
        sessions.cookie_name(public_url),
        path="/",
        httponly=True,
        samesite="lax",
        secure=public_url.startswith("https:"),
    )
    return response


def inside(to: str) -> str:
    """`to` where it is a page of the Manager, else its first: nobody is led elsewhere after they sign in."""
    try:
        parts = urlsplit(to) if to.isprintable() and "\\" not in to else None
    except ValueError:  # such as a bracket without its fellow
        parts = None
    if parts is None or parts.scheme or parts.netloc or not f"{parts.path}/".startswith(f"{PREFIX}/"):
        return PREFIX
    return to


def endpoints(house: House) -> list[tuple[str, Endpoint]]:
    """The pages of signing in."""
    return [
        (f"{PREFIX}/sign-in", VisitDoor(house, {"GET": show, "POST": by_password})),
        (f"{PREFIX}/sign-in/options", VisitDoor(house, {"POST": passkey_options})),
        (f"{PREFIX}/sign-in/passkey", VisitDoor(house, {"POST": by_passkey})),
    ]


async def sign_in_page(
    visit: Visit, to: str, error: AdmitError | None = None, *, email: str = ""
) -> Response:
    """The page, and why somebody was not let in."""
    provider = await vouching_provider(visit.gateway)
    signed_in = visit.signed_in
    if not email and signed_in is not None:
        email = signed_in.operator.email
    response = visit.render(
        "sign_in.html",
        200 if error is None else status_of(error),
        to=to,
        again=signed_in is not None,
        email=email,
        problem="" if error is None else error.message,
        vouching="" if provider is None else called(provider),
        nobody_there=await visit.gateway.entrance.nobody_there(),
        begin=f"{PREFIX}/sso/begin?{urlencode({'next': to})}",
        passkeys=visit.gateway.entrance.party.usable,
        host=urlsplit(visit.gateway.settings.public_url).netloc,
    )
    if error is not None:
        visit.request.scope["code"] = error.code
        response.headers.update(headers_for(error))
    return response


PAGES: tuple[PageRoute, ...] = (page("POST", "/sign-out", sign_out),)
