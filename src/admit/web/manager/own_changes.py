"""What operators change of their own account, by no operation of the admin API, is written down as well."""

from starlette.responses import Response

from admit.errors import Unauthorized
from admit.operators.changes import Begun, Ended
from admit.web.manager.pages import PREFIX, Page

SIGN_IN = f"{PREFIX}/sign-in"


async def watched(page: Page) -> Response:
    """The answer of the page; no field of its form is kept."""
    operator, request = page.signed_in.operator, page.request
    begun = Begun(
        app_id="",
        at=page.now,
        who_kind="operator",
        who_id=operator.operator_id,
        who_label=operator.email,
        address=request.client.host if request.client else "",
        kind="change",
        method=request.method,
        summary=page.route.changes,
        path=request.url.path,
    )

    async def ended(response: Response) -> Ended:
        at = page.gateway.clock()
        if response.headers.get("location", "").startswith(SIGN_IN):  # that they are it is asked anew first
            return Ended(at=at, status=401, code=Unauthorized.code)
        return Ended(at=at, status=response.status_code, code=request.scope.get("code", ""))

    return await page.house.api.audit.watch(begun, lambda: page.route.handler(page), ended)
