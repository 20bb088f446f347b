"""/manager/sso: signing in by the provider that OPERATOR_SSO names. It vouches for an email, and no more.

sign-in page ─► begin ─► provider ─► callback ─► Manager
State, nonce and PKCE verifier are kept for one browser and one return. RFC 9700 §4.5, §4.7.
"""

import msgspec
import structlog
from starlette.responses import Response

from admit import clock
from admit.accounts.providers import Provider
from admit.errors import NotFound, ProviderFault, Unauthorized
from admit.operators.entrance import FAILED, SIGN_IN_FAILED
from admit.signin.providers.faults import called
from admit.signin.sso_attempts import challenge_of, mark_of
from admit.web.manager.pages import PREFIX, House
from admit.web.manager.sign_in import inside, sign_in_page
from admit.web.manager.visits import Visit, VisitDoor
from admit.web.operations import query_fields
from admit.web.operator_sso import vouching_provider
from admit.web.paths import Endpoint

BEGIN = f"{PREFIX}/sso/begin"
CALLBACK = f"{PREFIX}/sso/callback"

STRAYED = "This sign-in was not begun in this browser, or too long ago. Try again."
NOT_VOUCHED = "{provider} did not sign you in. Try again, or use another way."

log = structlog.get_logger("admit.operators")


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known when the browser comes back."""

    mark: str
    nonce: str
    verifier: str
    to: str


async def begin(visit: Visit) -> Response:
    """Sends the browser to the provider; who is signed in already is to prove who they are once more."""
    provider = await _provider(visit)
    asked = query_fields(visit.request)
    attempt = Attempt(
        mark=mark_of(provider),
        nonce=clock.new_secret(),
        verifier=clock.new_secret(),
        to=inside(asked.get("next", "")),
    )
    details = msgspec.json.encode(attempt).decode()
    state = await visit.gateway.entrance.begin_vouching(details, visit.came)
    try:
        location = await visit.gateway.providers.authorization_url(
            provider,
            redirect_uri=_callback(visit),
            state=state,
            nonce=attempt.nonce,
            challenge=challenge_of(attempt.verifier),
        )
    except ProviderFault as fault:
        return await _not_let_in(visit, fault.code, fault.message, fault.detail)
    again = "" if visit.signed_in is None else "&prompt=login"  # OpenID Connect Core §3.1.2.1
    return visit.lead(location + again)


async def come_back(visit: Visit) -> Response:
    """Lets in whom the provider vouches for, if that is an operator."""
    try:
        attempt, cookie = await _let_in(visit)
    except ProviderFault as fault:
        return await _not_let_in(visit, fault.code, fault.message, fault.detail)
    except Unauthorized as error:
        return await _not_let_in(visit, error.code, error.message)
    return visit.let_in(cookie, attempt.to)


async def _not_let_in(visit: Visit, code: str, sentence: str, detail: str = "") -> Response:
    log.warning("operator.not_vouched_for", code=code, detail=detail, address=visit.came.address)
    return await sign_in_page(visit, PREFIX, Unauthorized(sentence, code=code))


async def _let_in(visit: Visit) -> tuple[Attempt, str]:
    provider, back = await _provider(visit), query_fields(visit.request)
    details = await visit.gateway.entrance.end_vouching(back.get("state", ""), visit.came)
    attempt = None if details is None else msgspec.json.decode(details, type=Attempt)
    if attempt is None or attempt.mark != mark_of(provider):
        raise Unauthorized(STRAYED, code=SIGN_IN_FAILED)
    if not back.get("code"):
        raise Unauthorized(NOT_VOUCHED.format(provider=called(provider)), code=SIGN_IN_FAILED)
    identity = await visit.gateway.providers.identify(
        provider,
        code=back["code"],
        redirect_uri=_callback(visit),
        verifier=attempt.verifier,
        nonce=attempt.nonce,
        iss=back.get("iss"),
    )
    if not identity.email_trusted:
        raise Unauthorized(FAILED, code=SIGN_IN_FAILED)
    return attempt, await visit.gateway.entrance.by_vouching(identity.email, visit.came)


async def _provider(visit: Visit) -> Provider:
    provider = await vouching_provider(visit.gateway)
    if provider is None:
        raise NotFound("Operators do not sign in by a provider here.")
    return provider


def _callback(visit: Visit) -> str:
    """What is registered at the provider."""
    return f"{visit.gateway.settings.public_url}{CALLBACK}"


def endpoints(house: House) -> list[tuple[str, Endpoint]]:
    """The pages of single sign-on."""
    return [(BEGIN, VisitDoor(house, {"GET": begin})), (CALLBACK, VisitDoor(house, {"GET": come_back}))]
