"""/manager/operators: who runs the house, with which role, and where they are signed in."""

from starlette.responses import Response

from admit.errors import AdmitError
from admit.operators.account import require_recent
from admit.operators.people import parse_role
from admit.operators.roles import ROLES
from admit.web.manager.account import needs_fresh
from admit.web.manager.browsers import browser_of
from admit.web.manager.pages import Page, PageHandler, PageRoute, page, showing_refusals
from admit.web.manager.toasts import Undo
from admit.web.operator_types import (
    NewOperator,
    NewRole,
    OperatorLink,
    OperatorSessionView,
    OperatorView,
    SessionsEnded,
)

HERE = "/operators"


async def show(page: Page) -> Response:
    """The page."""
    return await _page(page)


async def invite(page: Page) -> Response:
    """Invites somebody and shows their link, this once."""
    require_recent(page.signed_in, page.now)
    body = NewOperator(email=page.form.text("email"), role=parse_role(page.form.text("role")))
    return await _page(page, made=await page.send("POST", "/operators", OperatorLink, body))


async def link(page: Page) -> Response:
    """Makes a new link for somebody and shows it, this once."""
    require_recent(page.signed_in, page.now)
    operator = page.param("operator")
    made = await page.send("POST", "/operators/{operator}/link", OperatorLink, operator=operator)
    return await _page(page, made=made)


async def set_role(page: Page) -> Response:
    """Gives somebody another role."""
    require_recent(page.signed_in, page.now)
    body, operator = NewRole(role=parse_role(page.form.text("role"))), page.param("operator")
    changed = await page.send("PUT", "/operators/{operator}/role", OperatorView, body, operator=operator)
    return page.done(page.url(HERE), f"{changed.email} is {changed.role} from now on, and signed out.")


async def deactivate(page: Page) -> Response:
    """Lets somebody in no more."""
    path, operator = "/operators/{operator}/deactivation", page.param("operator")
    changed = await page.send("POST", path, OperatorView, operator=operator)
    undo = Undo(f"{HERE}/{changed.operator_id}/reactivate")
    return page.done(page.url(HERE), f"{changed.email} is signed out and cannot come back.", undo)


async def reactivate(page: Page) -> Response:
    """Lets somebody in again."""
    path, operator = "/operators/{operator}/deactivation", page.param("operator")
    changed = await page.send("DELETE", path, OperatorView, operator=operator)
    return page.done(page.url(HERE), f"{changed.email} may sign in again.")


async def sign_out(page: Page) -> Response:
    """Ends every session of somebody."""
    path, operator = "/operators/{operator}/sessions", page.param("operator")
    ended = await page.send("DELETE", path, SessionsEnded, operator=operator)
    return page.done(page.url(HERE), f"Sessions that have ended: {ended.ended}.")


async def end_session(page: Page) -> Response:
    """Ends one session."""
    path, session_id = "/operator-sessions/{session_id}", page.param("session_id")
    await page.send("DELETE", path, type(None), session_id=session_id)
    return page.done(page.url(HERE), "That browser is signed out.")


def _shown(handler: PageHandler) -> PageHandler:
    return needs_fresh(showing_refusals(handler, _page), HERE)


async def _page(page: Page, error: AdmitError | None = None, *, made: OperatorLink | None = None) -> Response:
    operators, sessions = await page.together(
        page.get("/operators", list[OperatorView]),
        page.get("/operator-sessions", list[OperatorSessionView]),
    )
    return page.render(
        "operators.html",
        page.status_of(error),
        operators=operators,
        sessions=[(each, browser_of(each.user_agent)) for each in sessions],
        made=made,
        problem="" if error is None else error.message,
        typed=page.form.text("email") if error is not None else "",
        roles=[(role, role.capitalize()) for role in ROLES],
        me=page.signed_in.operator.operator_id,
        may_write=page.may("operators:write"),
    )


PAGES: tuple[PageRoute, ...] = (
    page("GET", HERE, show, nav="operators"),
    page("POST", f"{HERE}/invite", _shown(invite), nav="operators"),
    page("POST", f"{HERE}/sessions/{{session_id}}/end", _shown(end_session), nav="operators"),
    page("POST", f"{HERE}/{{operator}}/link", _shown(link), nav="operators"),
    page("POST", f"{HERE}/{{operator}}/role", _shown(set_role), nav="operators"),
    page("POST", f"{HERE}/{{operator}}/deactivate", _shown(deactivate), nav="operators"),
    page("POST", f"{HERE}/{{operator}}/reactivate", _shown(reactivate), nav="operators"),
    page("POST", f"{HERE}/{{operator}}/sign-out", _shown(sign_out), nav="operators"),
)
