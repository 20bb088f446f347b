"""/tokens: operator tokens, the keys to the admin API for programs and for commands from elsewhere."""

from starlette.responses import Response

from admit.errors import AdmitError, Forbidden, InvalidRequest
from admit.operators.account import AGAIN, require_recent
from admit.operators.roles import SCOPES
from admit.web.admin_types import AppView, NewToken, TokenSecret, TokenView
from admit.web.manager.account import needs_fresh
from admit.web.manager.pages import Page, PageHandler, page, showing_refusals

DAY_SECONDS = 86_400
ENDS = {"30": "In 30 days", "90": "In 90 days", "365": "In a year", "": "When it is revoked"}
AREAS = (
    ("apps", "Apps, policies, sign-in and mail"),
    ("users", "People and decisions about them"),
    ("sessions", "Devices and sessions"),
    ("events", "Events"),
    ("webhooks", "Web hooks and their deliveries"),
    ("tasks", "Tasks and runs"),
    ("data", "Tables and objects"),
    ("operators", "Operators"),
    ("tokens", "Operator tokens"),
    ("audit", "Changes by operators"),
    ("secrets", "Secrets that are stored readable"),
)
"""What the scopes are about, as rows of the form."""
APPS_MAX = 200


async def show(page: Page) -> Response:
    """The page."""
    return await _page(page)


async def create(page: Page) -> Response:
    """Makes a token and shows it, this once: a way in that lasts, so they prove anew who they are."""
    require_recent(page.signed_in, page.now)
    form = page.form
    days = form.text("ends")
    if days not in ENDS:
        raise InvalidRequest("Choose when the token ends.")
    body = NewToken(
        label=form.text("label"),
        app=form.optional("app"),
        scopes=form.many("scope"),
        expires_in_seconds=int(days) * DAY_SECONDS if days else None,
    )
    return await _page(page, made=await page.send("POST", "/tokens", TokenSecret, body))


async def revoke(page: Page) -> Response:
    """Ends a token."""
    token_id = page.param("token")
    await page.send("DELETE", "/tokens/{token_id}", type(None), token_id=token_id)
    return page.done(page.url("/tokens"), "The token is revoked. Whoever uses it is refused from now on.")


def _shown(handler: PageHandler) -> PageHandler:
    return needs_fresh(showing_refusals(handler, _refused, Forbidden), "/tokens")


async def _refused(page: Page, error: AdmitError) -> Response:
    if isinstance(error, Forbidden) and (error.code == AGAIN or not page.may("tokens:read")):
        raise error
    return await _page(page, error)


async def _page(page: Page, error: AdmitError | None = None, *, made: TokenSecret | None = None) -> Response:
    tokens, apps = await page.together(
        page.get("/tokens", list[TokenView]), page.get("/apps", list[AppView], {"limit": APPS_MAX})
    )
    typed = page.form if error is not None else None
    living = [each for each in tokens if each.revoked_at is None and not _is_over(each, page.now)]
    return page.render(
        "tokens.html",
        page.status_of(error),
        living=living,
        ended=[each for each in tokens if each not in living][:50],
        apps=[each.name for each in apps],
        areas=[
            (area, about, [f"{area}:{verb}" for verb in ("read", "write") if f"{area}:{verb}" in SCOPES])
            for area, about in AREAS
        ],
        made=made,
        problem="" if error is None else error.message,
        label=typed.text("label") if typed else "",
        app=typed.text("app") if typed else "",
        ends=typed.text("ends") if typed else "90",
        ends_choices=list(ENDS.items()),
        chosen=frozenset(typed.many("scope")) if typed else frozenset({"apps:read"}),
        may_write=page.may("tokens:write") and page.may("secrets:read"),
        public_url=page.gateway.settings.public_url,
    )


def _is_over(token: TokenView, now: int) -> bool:
    return token.expires_at is not None and token.expires_at <= now


PAGES = (
    page("GET", "/tokens", show, nav="tokens"),
    page("POST", "/tokens/create", _shown(create), nav="tokens"),
    page("POST", "/tokens/{token}/revoke", _shown(revoke), nav="tokens"),
)
