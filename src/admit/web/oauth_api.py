"""Single sign-on in a browser: from a page of the app to the provider, and back to that page with a code.

login ─► provider ─► callback ─► page ─► POST /token
What must be known at the callback travels in a sealed cookie; see signin/sso_attempts.py for why.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

import msgspec
import structlog
from starlette.responses import Response

from admit.accounts.apps import App
from admit.accounts.providers import Provider
from admit.errors import AdmitError, InvalidRequest, NotFound, ProviderFault, RateLimited, Unavailable
from admit.gateway import Gateway
from admit.signin import sso_attempts
from admit.signin.providers.faults import called
from admit.signin.redirects import check_redirect, with_code, with_error
from admit.signin.sso import EXPIRED
from admit.signin.sso_attempts import Attempt
from admit.web import forms
from admit.web.bearer import issuer_of
from admit.web.errors import status_of
from admit.web.operations import Call, Handler, Operation, read_body
from admit.web.sign_in_pages import stopped_page

FORM_BYTES_MAX = 16_384

NO_PROVIDER = "There is no such way to sign in to this app."
OTHER_BROWSER = (
    "This sign-in was not begun in this browser, or too long ago. Cookies of this address must be allowed."
)
PLAIN = "code_challenge_method is S256: another one hides nothing. RFC 7636."
NOT_POSTED = "This provider was not asked to answer by a form."
DENIED = "{provider} did not sign you in, or you cancelled (access_denied)."
FAILED = "{provider} could not sign you in{code}. Try again."
NO_CODE = "{provider} did not say who you are. Try again."
CHANGED = "How this app signs in with {provider} has changed meanwhile. Try again."

_DENIALS = frozenset(
    {
        "access_denied",
        "consent_required",
        "interaction_required",
        "login_required",
        "user_cancelled_authorize",
        "user_cancelled_login",
    }
)
_COOKIE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")

log = structlog.get_logger("admit.signin")


class Stopped(Exception):
    """The sign-in goes no further. `sentence` is for the person at the page, `reason` for the log."""

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(reason)
        self.sentence = sentence
        self.reason = reason


class LoginAsked(msgspec.Struct, frozen=True):
    """Where to come back to. `code_challenge` (RFC 7636, S256) is of a client that keeps a verifier itself.

    `moved`: this browser was sent to the address of the app already.
    """

    redirect_uri: str = ""
    code_challenge: str = ""
    code_challenge_method: str = ""
    moved: str = ""


class Returned(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a browser brings from the provider. RFC 6749 §4.1.2, RFC 9207 §2. Its other words are not read."""

    state: str = ""
    code: str = ""
    iss: str | None = None
    error: str = ""


def callback_address(gateway: Gateway, app: App, provider: str) -> str:
    """The redirect_uri that is registered at the provider."""
    return f"{issuer_of(gateway, app)}/oauth/callback/{provider}"


async def begin_single_sign_on(call: Call) -> Response:
    """Sends the browser to the provider. Nothing is written."""
    app = await call.app()
    asked = call.query(LoginAsked)
    provider = app.providers.get(call.param("provider"))
    if provider is None:
        raise NotFound(NO_PROVIDER, code="provider_not_found")
    callback = callback_address(call.gateway, app, provider.name)
    if not asked.moved and not _is_at(call, callback):
        return _redirect(_login_address(call, app, provider, asked))
    redirect = check_redirect(asked.redirect_uri, app.origins)
    gateway = call.gateway
    attempt = sso_attempts.begin(app.app_id, provider, redirect, _challenge(asked), gateway.clock())
    try:
        location = await gateway.providers.authorization_url(
            provider,
            redirect_uri=callback,
            state=attempt.state,
            nonce=attempt.nonce,
            challenge=sso_attempts.challenge_of(attempt.verifier),
        )
    except ProviderFault as fault:
        _log_end(call, attempt, fault.code, fault.detail)
        return _redirect(_told(attempt, fault.message))
    log.info("sso.begun", app_id=app.app_id, provider=provider.name, address=call.address)
    secure = _is_secure(callback)
    sealed = sso_attempts.seal(gateway.ring, attempt)
    gone = sso_attempts.given_up(_cookies(call), sealed)
    kept = _cookie(
        sso_attempts.cookie_name(attempt.state, secure=secure),
        sealed,
        secure=secure,
        max_age=sso_attempts.ATTEMPT_LIFE_MS // 1_000,
    )
    return _redirect(location, [*(_cleared(name) for name in gone), kept])


async def come_back_from_provider(call: Call) -> Response:
    """Finds out who it is, and sends the browser to the page where it began, with a code or an error."""
    app = await call.app()
    back = call.query(Returned)
    name = call.param("provider")
    secure = _is_secure(callback_address(call.gateway, app, name))
    cookies = dict(_cookies(call))
    cookie = sso_attempts.cookie_name(back.state, secure=secure)
    cleared = [_cleared(cookie)] if cookie in cookies else []
    attempt = sso_attempts.unseal(
        call.gateway.ring,
        cookies,
        app_id=app.app_id,
        provider=name,
        state=back.state,
        secure=secure,
        now=call.gateway.clock(),
    )
    if attempt is None or attempt.origin not in app.origins:
        log.warning("sso.other_browser", app_id=app.app_id, had_state=bool(back.state), address=call.address)
        return _with_cookies(stopped_page(OTHER_BROWSER, HTTPStatus.BAD_REQUEST), cleared)
    return _redirect(await _end(call, app, attempt, back), cleared)


async def come_back_by_form(call: Call) -> Response:
    """response_mode form_post: the same by a GET, as no Lax cookie comes along with a POST of elsewhere."""
    app = await call.app()
    provider = app.providers.get(call.param("provider"))
    if provider is None or provider.response_mode != "form_post":
        raise InvalidRequest(NOT_POSTED)
    fields = forms.read_form(await read_body(call.request, call.operation.body_bytes_max))
    back = msgspec.convert(fields, Returned)
    location = f"{callback_address(call.gateway, app, provider.name)}?{urlencode(msgspec.to_builtins(back))}"
    return _redirect(location, status=HTTPStatus.SEE_OTHER)


async def _end(call: Call, app: App, attempt: Attempt, back: Returned) -> str:
    """Where the browser goes: to the page with its code, or with a sentence that says why it has none."""
    try:
        await _find_out(call, app, attempt, back)
    except Stopped as stopped:
        _log_end(call, attempt, stopped.reason)
        return _told(attempt, stopped.sentence)
    except ProviderFault as fault:
        _log_end(call, attempt, fault.code, fault.detail)
        return _told(attempt, fault.message)
    except (RateLimited, Unavailable) as error:
        _log_end(call, attempt, error.code)
        return _told(attempt, error.message)
    _log_end(call, attempt)
    return with_code(attempt.redirect, code=attempt.code, provider=attempt.provider, state=attempt.state)


async def _find_out(call: Call, app: App, attempt: Attempt, back: Returned) -> None:
    """Has the code of `attempt` given out: what the browser has brought is exchanged once.

    Raises Stopped, ProviderFault, RateLimited and Unavailable.
    """
    provider = app.providers.get(attempt.provider)
    if provider is None or sso_attempts.mark_of(provider) != attempt.provider_mark:
        told = called(provider) if provider else attempt.provider
        raise Stopped(CHANGED.format(provider=told), "provider_changed")
    if back.error:
        raise _refusal_of(provider, back.error)
    if not back.code:
        raise Stopped(NO_CODE.format(provider=called(provider)), "no_code")
    codes = call.gateway.sso_codes
    async with codes.turn(attempt):
        match await codes.state_of(attempt):
            case "waiting":  # the browser has asked twice, and both lead to the same code
                return
            case "over":
                raise Stopped(EXPIRED, "state_reused")
            case "none":
                await codes.count_return(attempt, call.address)
        identity = await call.gateway.providers.identify(
            provider,
            code=back.code,
            redirect_uri=callback_address(call.gateway, app, provider.name),
            verifier=attempt.verifier,
            nonce=attempt.nonce,
            iss=back.iss,
        )
        await codes.give_out(attempt, identity, call.address)


def _refusal_of(provider: Provider, error: str) -> Stopped:
    """What the provider's `error` means for the person. Its own words are not repeated."""
    name = called(provider)
    if error in _DENIALS:
        return Stopped(DENIED.format(provider=name), "access_denied")
    code = error if _ERROR_CODE.fullmatch(error) else ""
    sentence = FAILED.format(provider=name, code=f" ({code})" if code else "")
    return Stopped(sentence, code or "unknown_error")


def _told(attempt: Attempt, sentence: str) -> str:
    return with_error(attempt.redirect, error=sentence, provider=attempt.provider, state=attempt.state)


def _challenge(asked: LoginAsked) -> str:
    """The client's own PKCE challenge, or "". Raises InvalidRequest."""
    if not asked.code_challenge and not asked.code_challenge_method:
        return ""
    if asked.code_challenge_method != "S256" or not sso_attempts.could_be_challenge(asked.code_challenge):
        raise InvalidRequest(PLAIN)
    return asked.code_challenge


def _is_at(call: Call, callback: str) -> bool:
    """Whether the browser came to where the callback will be: its cookie must be found there."""
    return (call.header("host") or "").lower() == urlsplit(callback).netloc


def _login_address(call: Call, app: App, provider: Provider, asked: LoginAsked) -> str:
    query = {name: value for name, value in msgspec.to_builtins(asked).items() if value}
    there = f"{issuer_of(call.gateway, app)}/oauth/login/{provider.name}"
    return f"{there}?{urlencode(query | {'moved': '1'})}"


def _is_secure(address: str) -> bool:
    return address.startswith("https://")


def _cookies(call: Call) -> list[tuple[str, str]]:
    """The cookies of the request, in the order in which the browser has sent them."""
    pairs = "; ".join(call.request.headers.getlist("cookie")).split(";")
    parted = (pair.strip().partition("=") for pair in pairs)
    return [(name, value) for name, _, value in parted if _COOKIE_NAME.fullmatch(name)]


def _cookie(name: str, value: str, *, secure: bool, max_age: int) -> str:
    """RFC 6265 §4.1. Lax: it comes along when the provider leads the browser back, and with nothing else."""
    return f"{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax" + (
        "; Secure" if secure else ""
    )


def _cleared(name: str) -> str:
    return _cookie(name, "", secure=name.startswith(sso_attempts.HOST_PREFIX), max_age=0)


def _redirect(
    location: str, cookies: Iterable[str] = (), *, status: HTTPStatus = HTTPStatus.FOUND
) -> Response:
    """`location` is put together by us, from what was checked."""
    return _with_cookies(Response(status_code=status, headers={"Location": location}), cookies)


def _with_cookies(response: Response, cookies: Iterable[str]) -> Response:
    response.raw_headers += [(b"set-cookie", cookie.encode("ascii")) for cookie in cookies]
    return response


def _log_end(call: Call, attempt: Attempt, code: str = "", detail: str = "") -> None:
    told = log.warning if code else log.info
    told(
        "sso.refused" if code else "sso.returned",
        app_id=attempt.app_id,
        provider=attempt.provider,
        code=code,
        detail=detail,
        address=call.address,
    )


def _in_pages(handler: Handler) -> Handler:
    """`handler`, whose refusals a person reads in a browser."""

    async def shown(call: Call) -> Response:
        try:
            return await handler(call)
        except AdmitError as error:
            if (status := status_of(error)) == HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            call.request.scope["code"] = error.code
            return stopped_page(error.message, status)

    shown.__name__ = handler.__name__
    return shown


OPERATIONS = (
    Operation(
        method="GET",
        path="/{app}/oauth/login/{provider}",
        handler=_in_pages(begin_single_sign_on),
        summary="Sends a browser to a provider of single sign-on",
        access="open",
        query=LoginAsked,
        status=HTTPStatus.FOUND,
        codes=("provider_not_found",),
    ),
    Operation(
        method="GET",
        path="/{app}/oauth/callback/{provider}",
        handler=_in_pages(come_back_from_provider),
        summary="Where a provider sends the browser back to",
        access="open",
        query=Returned,
        status=HTTPStatus.FOUND,
    ),
    Operation(
        method="POST",
        path="/{app}/oauth/callback/{provider}",
        handler=_in_pages(come_back_by_form),
        summary="The same for providers that answer by a form",
        access="open",
        body=dict[str, str],
        body_media_types=(forms.MEDIA_TYPE,),
        body_bytes_max=FORM_BYTES_MAX,
        status=HTTPStatus.SEE_OTHER,
    ),
)
