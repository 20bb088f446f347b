"""/manager/account: what operators change of their own: name, passkeys, password and sessions."""

from starlette.responses import RedirectResponse, Response

from admit.errors import AdmitError, Forbidden, NotFound, Unavailable
from admit.operators import sessions
from admit.operators.account import AGAIN
from admit.storage.transaction import Transaction
from admit.web.errors import answer_for
from admit.web.manager.browsers import browser_of
from admit.web.manager.pages import Page, PageHandler, PageRoute, page, showing_refusals

HERE = "/account"


async def show(page: Page) -> Response:
    """The page."""
    return await _page(page)


async def rename(page: Page) -> Response:
    """Gives the operator another name."""
    await page.gateway.account.rename(page.signed_in, page.form.text("name"))
    return page.done(page.url(HERE), "Your name is changed.")


async def set_password(page: Page) -> Response:
    """Sets a password; the other sessions end."""
    await page.gateway.account.set_password(page.signed_in, page.form.verbatim("password"))
    return page.done(page.url(HERE), "Your password is set. You are signed out everywhere else.")


async def passkey_options(page: Page) -> Response:
    """What our script gives to navigator.credentials.create."""
    try:
        options = await page.gateway.account.passkey_options(page.signed_in)
    except AdmitError as error:
        return answer_for(error)
    return Response(options, media_type="application/json")


async def add_passkey(page: Page) -> Response:
    """Keeps a passkey that was just made."""
    name = page.form.text("passkey")
    await page.gateway.account.add_passkey(page.signed_in, page.form.text("credential"), name)
    return page.done(page.url(HERE), f"The passkey “{name}” lets you in from now on.")


async def remove_passkey(page: Page) -> Response:
    """Forgets a passkey."""
    await page.gateway.account.remove_passkey(page.signed_in, page.param("passkey_id"))
    return page.done(page.url(HERE), "The passkey lets nobody in any more.")


async def end_session(page: Page) -> Response:
    """Signs the operator out in another browser."""
    session_id, mine = page.param("session_id"), page.signed_in.operator.operator_id

    def unit(tx: Transaction) -> bool:
        listed = sessions.list_sessions(tx, page.now, mine)
        return any(each.session_id == session_id for each in listed) and sessions.end_session(tx, session_id)

    if not await page.gateway.db.write(unit):
        raise NotFound("There is no such session, or it has ended.", code="session_not_found")
    return page.done(page.url(HERE), "That browser is signed out.")


def again(page: Page, to: str) -> Response:
    """To the sign-in page, to prove once more who they are, and back to `to`."""
    return RedirectResponse(page.url("/sign-in", again=1, next=page.url(to)), 303)


def needs_fresh(handler: PageHandler, to: str) -> PageHandler:
    """`handler`, which leads to the sign-in page and back to `to` where a fresh sign-in is needed."""

    async def asked(page: Page) -> Response:
        try:
            return await handler(page)
        except Forbidden as error:
            if error.code != AGAIN:
                raise
            return again(page, to)

    return asked


def _shown(handler: PageHandler) -> PageHandler:
    return needs_fresh(showing_refusals(handler, _page, Unavailable), HERE)


async def _page(page: Page, error: AdmitError | None = None) -> Response:
    operator = page.signed_in.operator
    listed = await page.gateway.db.read(lambda tx: sessions.list_sessions(tx, page.now, operator.operator_id))
    return page.render(
        "account.html",
        page.status_of(error),
        operator=operator,
        passkeys=await page.gateway.account.passkeys(page.signed_in),
        sessions=[(each, browser_of(each.user_agent)) for each in listed],
        problem="" if error is None else error.message,
        fresh=page.signed_in.recent(page.now),
        usable=page.gateway.entrance.party.usable,
    )


PAGES: tuple[PageRoute, ...] = (
    page("GET", HERE, show, nav="account"),
    page("POST", f"{HERE}/name", _shown(rename), nav="account", changes="Changes their own name"),
    page(
        "POST", f"{HERE}/password", _shown(set_password), nav="account", changes="Changes their own password"
    ),
    page("POST", f"{HERE}/passkeys/options", passkey_options, nav="account"),
    page(
        "POST", f"{HERE}/passkeys", _shown(add_passkey), nav="account", changes="Adds a passkey of their own"
    ),
    page(
        "POST",
        f"{HERE}/passkeys/{{passkey_id}}/remove",
        _shown(remove_passkey),
        nav="account",
        changes="Removes a passkey of their own",
    ),
    page(
        "POST",
        f"{HERE}/sessions/{{session_id}}/end",
        _shown(end_session),
        nav="account",
        changes="Ends a session of their own",
    ),
)
