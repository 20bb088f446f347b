"""A sign-in that is under way at a provider, sealed into a cookie of the browser that has begun it. Pure.

Nothing is stored before somebody has come back: who begins a million sign-ins fills no table. The cookie
binds `state` to the browser (RFC 9700 §4.7.1): a link with somebody else's state leads nowhere.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from admit.accounts.providers import Provider
from admit.clock import MINUTE_MS, new_secret
from admit.signin.redirects import Redirect
from admit.storage.sealing import KeyRing, SealBroken

ATTEMPT_LIFE_MS = 10 * MINUTE_MS
AT_ONCE_MAX = 5
"""So many sign-ins may be under way in one browser, such as in several tabs. Older ones are given up."""
COOKIES_BYTES_MAX = 6_000
"""Of all of them together: proxies refuse requests whose headers are longer than 8 kB."""

COOKIE = "admit-sso-"
HOST_PREFIX = "__Host-"
_MARK_CHARACTERS = 16
_STATE = re.compile(r"[A-Za-z0-9_-]{43}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What must be known when the browser comes back. `code` is what it will carry to its page then.

    `provider_mark` tells whether the provider's settings are still the same, see `mark_of`; `challenge` is
    the client's own PKCE challenge, "" where it has none.
    """

    app_id: str
    provider: str
    provider_mark: str
    redirect_uri: str
    origin: str
    state: str
    nonce: str
    verifier: str
    code: str
    challenge: str = ""
    expires_at: int

    @property
    def redirect(self) -> Redirect:
        """Where it ends."""
        return Redirect(self.redirect_uri, self.origin)


def begin(app_id: str, provider: Provider, redirect: Redirect, challenge: str, now: int) -> Attempt:
    """A new attempt, with secrets of its own."""
    return Attempt(
        app_id=app_id,
        provider=provider.name,
        provider_mark=mark_of(provider),
        redirect_uri=redirect.uri,
        origin=redirect.origin,
        state=new_secret(),
        nonce=new_secret(),
        verifier=new_secret(),
        code=new_secret(),
        challenge=challenge,
        expires_at=now + ATTEMPT_LIFE_MS,
    )


def mark_of(provider: Provider) -> str:
    """Changes with every setting of `provider` by which it is known who somebody is: not with its secret."""
    decisive = replace(provider, client_secret="", display_name="", icon_url="")
    told = hashlib.sha256(msgspec.json.encode(decisive, order="sorted")).digest()
    return base64.urlsafe_b64encode(told[:12]).decode()


def challenge_of(verifier: str) -> str:
    """RFC 7636 §4.2, S256."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def could_be_challenge(text: str) -> bool:
    """Whether `text` is spelled like the S256 of something."""
    return _CHALLENGE.fullmatch(text) is not None


def cookie_name(state: str, *, secure: bool) -> str:
    """The name of the cookie of the attempt with `state`."""
    return f"{HOST_PREFIX if secure else ''}{COOKIE}{state[:_MARK_CHARACTERS]}"


def seal(ring: KeyRing, attempt: Attempt) -> str:
    """The value of the cookie: nobody reads or changes it, and it is good for this app and provider alone."""
    place = _place(attempt.app_id, attempt.provider)
    return ring.seal(msgspec.json.encode(attempt).decode(), place)


def unseal(
    ring: KeyRing,
    cookies: Mapping[str, str],
    *,
    app_id: str,
    provider: str,
    state: str,
    secure: bool,
    now: int,
) -> Attempt | None:
    """The attempt of this browser that has `state`; None: there is none that is still under way."""
    if not _STATE.fullmatch(state):
        return None
    sealed = cookies.get(cookie_name(state, secure=secure))
    if sealed is None:
        return None
    try:
        attempt = msgspec.json.decode(ring.unseal(sealed, _place(app_id, provider)), type=Attempt)
    except (SealBroken, msgspec.MsgspecError, UnicodeError):
        return None
    if not hmac.compare_digest(attempt.state, state) or attempt.expires_at <= now:
        return None
    return attempt


def given_up(cookies: Sequence[tuple[str, str]], sealed: str) -> list[str]:
    """The names of those attempts among `cookies` that must go for a new one, `sealed`, to have room.

    Browsers send the oldest first (RFC 6265 §5.4).
    """
    under_way = [
        (name, len(name) + len(value))
        for name, value in cookies
        if name.removeprefix(HOST_PREFIX).startswith(COOKIE)
    ]
    room = COOKIES_BYTES_MAX - len(sealed)
    kept = 0
    for _, size in reversed(under_way):
        if kept == AT_ONCE_MAX - 1 or size > room:
            break
        kept, room = kept + 1, room - size
    return [name for name, _ in under_way[: len(under_way) - kept]]


def _place(app_id: str, provider: str) -> str:
    return f"cookies.sso/{app_id}/{provider}"
