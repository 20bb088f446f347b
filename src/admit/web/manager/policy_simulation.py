"""/apps/APP/policy/simulate: what would happen to somebody at the door, and why. Nobody is asked."""

import msgspec
from starlette.responses import Response

from admit.errors import InvalidRequest
from admit.web.admin_types import AppView, Simulation, SimulationResult
from admit.web.manager import typed_json
from admit.web.manager.pages import Page, page
from admit.web.manager.policy import tabs, ways_of
from admit.web.ways_in import EMAIL_CODE

TAB = "Simulate"
FIELDS = ("way_in", "email", "email_proven", "intent", "user_id", "subject", "claims")
DEFAULTS = {"way_in": EMAIL_CODE, "email_proven": "yes"}
PROVEN = (("yes", "Yes"), ("no", "No"))
INTENTS = (("", "Does not say"), ("login", "To log in"), ("register", "To register"))


async def show(page: Page) -> Response:
    """The form, and what would happen to who was imagined in it."""
    app = await page.get("/apps/{app}", AppView)
    typed = {name: page.query(name, DEFAULTS.get(name, "")) for name in FIELDS}
    result, refused, wrong = None, None, ""
    if page.query("imagine"):
        try:
            result = await _imagined(page, typed)
        except _WrongClaims as error:
            wrong = str(error)
        except InvalidRequest as error:
            refused = error
    failed = refused or (InvalidRequest(wrong) if wrong else None)
    return page.render(
        "policy_simulation.html",
        status=page.status_of(failed),
        tabs=tabs(page),
        tab=TAB,
        app=app,
        typed=typed,
        ways=ways_of(app),
        proven=PROVEN,
        intents=INTENTS,
        result=result,
        refused="" if refused is None else refused.message,
        wrong=wrong,
        command=_command(page, typed),
    )


class _WrongClaims(Exception):
    """The claims are no JSON object; the text says where."""


async def _imagined(page: Page, typed: dict[str, str]) -> SimulationResult:
    try:
        claims = typed_json.read_object(typed["claims"]) if typed["claims"] else {}
    except InvalidRequest as error:
        raise _WrongClaims(error.message) from None
    try:
        body = msgspec.convert(
            {
                "email": typed["email"],
                "user_id": typed["user_id"] or None,
                "email_verified": typed["email_proven"] != "no",
                "intent": typed["intent"],
                "way_in": typed["way_in"],
                "subject": typed["subject"],
                "claims": claims,
            },
            Simulation,
        )
    except msgspec.ValidationError:
        raise InvalidRequest("Nobody like this can be imagined. Choose from what the form offers.") from None
    return await page.send("POST", "/apps/{app}/policy/simulation", SimulationResult, body=body)


def _command(page: Page, typed: dict[str, str]) -> list[str]:
    said = ["policy", "simulate", page.app]
    for name, option in (("email", "--email"), ("user_id", "--user-id"), ("intent", "--intent")):
        said += [option, typed[name]] if typed[name] else []
    said += ["--unverified"] if typed["email_proven"] == "no" else []
    said += ["--for", typed["way_in"]] if typed["way_in"] != EMAIL_CODE else []
    return said + (["--subject", typed["subject"]] if typed["subject"] else [])


PAGES = (page("GET", "/apps/{app}/policy/simulate", show, nav="policy"),)
