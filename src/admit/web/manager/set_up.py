"""/manager/set-up/TOKEN: where a one-time link leads the first owner, and who is invited or locked out."""

from starlette.responses import Response

from admit.errors import AdmitError, Conflict, InvalidRequest, Unavailable
from admit.operators.entrance import SetUp
from admit.web.errors import headers_for, status_of
from admit.web.manager.pages import PREFIX, House
from admit.web.manager.visits import Visit, VisitDoor
from admit.web.paths import Endpoint


async def show(visit: Visit) -> Response:
    """The page of a link. Looking at it uses nothing up."""
    return await _page(visit)


async def passkey_options(visit: Visit) -> Response:
    """What our script gives to navigator.credentials.create."""
    form = visit.form
    options = await visit.gateway.entrance.options_of_link(
        visit.param("token"), form.text("email"), form.text("name"), visit.came
    )
    return Response(options, media_type="application/json")


async def set_up(visit: Visit) -> Response:
    """Uses the link up, and signs in."""
    form = visit.form
    told = SetUp(
        name=form.text("name"),
        email=form.text("email"),
        password=form.verbatim("password"),
        credential=form.text("credential"),
    )
    try:
        cookie = await visit.gateway.entrance.set_up(visit.param("token"), told, visit.came)
    except (InvalidRequest, Conflict, Unavailable) as error:
        return await _page(visit, error)
    return visit.let_in(cookie, PREFIX)


def endpoints(house: House) -> list[tuple[str, Endpoint]]:
    """The pages of links."""
    return [
        (f"{PREFIX}/set-up/{{token}}", VisitDoor(house, {"GET": show, "POST": set_up})),
        (f"{PREFIX}/set-up/{{token}}/options", VisitDoor(house, {"POST": passkey_options})),
    ]


async def _page(visit: Visit, error: AdmitError | None = None) -> Response:
    link = await visit.gateway.entrance.link(visit.param("token"))
    operator, typed = link.operator, error is not None
    response = visit.render(
        "set_up.html",
        200 if error is None else status_of(error),
        operator=operator,
        name=visit.form.text("name") if typed else "" if operator is None else operator.name,
        email=visit.form.text("email")
        if typed and operator is None
        else ""
        if operator is None
        else operator.email,
        problem="" if error is None else error.message,
        passkeys=visit.gateway.entrance.party.usable,
        here=visit.request.url.path,
        expires_at=link.expires_at,
    )
    if error is not None:
        visit.request.scope["code"] = error.code
        response.headers.update(headers_for(error))
    return response
