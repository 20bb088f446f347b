"""What a provider has said, between its answer and the login: given to a browser as a code, taken back once.

The addon never asks whether the code in its page's address is one that it has asked for. So a code is good
only where it was given: at the page's origin, in the same network, for one key and for a minute.
"""

import asyncio
import hashlib
import hmac
import re
from functools import partial
from typing import Literal
from weakref import WeakValueDictionary

import msgspec
import structlog

from admit.accounts import session_states
from admit.accounts.apps import App
from admit.accounts.keys import PublicKey
from admit.accounts.providers import Provider
from admit.accounts.sessions import Session
from admit.clock import HOUR_MS, Clock
from admit.errors import SIGN_IN_EXPIRED, RateLimited, Refused
from admit.signin import sign_in_codes
from admit.signin.email_addresses import network_of
from admit.signin.identity import Identity
from admit.signin.limits import Limits, refusal, take, wants
from admit.signin.sign_in_codes import CODE_LIFE_MS, REUSED, SignInCode, SpendCode, is_over
from admit.signin.sso import EXPIRED
from admit.signin.sso_attempts import Attempt, challenge_of, mark_of
from admit.storage.database import Database
from admit.storage.sealing import KeyRing, SealBroken
from admit.storage.transaction import Transaction

PURPOSE = "sign-in-code"
TOKEN_KNOWN_MS = 25 * HOUR_MS
"""Longer than an ID token may be exchanged after it was issued, so that each is good once."""

TOO_MANY = "Too many people have signed in from this network. Try again in {minutes} min."
TOO_OFTEN = "This sign-in was tried too often. Begin again."
OTHER_NETWORK = "You are in another network than a moment ago. Sign in again."

_CODE = re.compile(r"[A-Za-z0-9_-]{43}")

Fault = Literal[
    "unknown", "reused", "expired", "other_origin", "other_network", "verifier", "provider_changed"
]

log = structlog.get_logger("admit.signin")


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """A code as it comes back. `origin` is of the page that sends it, None where no browser does."""

    code: str
    verifier: str | None
    thumbprint: str
    origin: str | None
    address: str


class Taken(msgspec.Struct, frozen=True):
    """Who is at the door. `code_digest` is spent by the login."""

    provider: Provider
    identity: Identity
    code_digest: str


class _Said(msgspec.Struct, frozen=True):
    """What is sealed: the identity, and under which settings of the provider it was found out."""

    identity: Identity
    provider_mark: str


class SsoCodes:
    """Gives out codes and takes them back. Nothing is spent here: that is a part of the login's own unit."""

    def __init__(self, db: Database, ring: KeyRing, clock: Clock, limits: Limits) -> None:
        self._db = db
        self._ring = ring
        self._clock = clock
        self._limits = limits
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, attempt: Attempt) -> asyncio.Lock:
        """Held by who finds out who came back: a provider answers once, and a browser may ask twice."""
        return self._turns.setdefault(attempt.code, asyncio.Lock())

    async def count_return(self, attempt: Attempt, address: str) -> None:
        """Counts somebody who is back from a provider, before it is asked who that is. Raises RateLimited.

        An attempt has one window, that of its end: it is over before the next one begins.
        """
        limits, now = self._limits, self._clock()
        of_network = wants(("sso-return-by", network_of(address), limits.sso_callbacks_per_address))
        of_attempt = wants(("sso-return-of", attempt.code, limits.sso_callbacks_per_attempt))

        def unit(tx: Transaction) -> RateLimited | None:
            wait = take(tx, self._ring, attempt.app_id, of_network, now)
            if wait is not None:
                return refusal(TOO_MANY, wait)
            wait = take(tx, self._ring, attempt.app_id, of_attempt, attempt.expires_at)
            return None if wait is None else RateLimited(TOO_OFTEN, retry_after_seconds=wait)

        if (refused := await self._db.write(unit)) is not None:
            raise refused

    async def state_of(self, attempt: Attempt) -> Literal["none", "waiting", "over"]:
        """Whether the code of `attempt` was given out already, and if so, whether it waits to be taken."""
        found = await self._find(attempt.app_id, attempt.code)
        if found is None:
            return "none"
        return "over" if found.spent_by or is_over(found, self._clock()) else "waiting"

    async def give_out(self, attempt: Attempt, identity: Identity, address: str) -> None:
        """Keeps what `identity` says under the code of `attempt`. Of two at once the first is kept."""
        now = self._clock()
        digest = self._ring.digest(PURPOSE, _bound(attempt.app_id, attempt.code))
        code = SignInCode(
            app_id=attempt.app_id,
            code_digest=digest,
            provider=attempt.provider,
            method="sso",
            sealed=self._seal(attempt.app_id, digest, _Said(identity, attempt.provider_mark)),
            origin=attempt.origin,
            network=network_of(address),
            challenge=attempt.challenge,
            created_at=now,
            expires_at=now + CODE_LIFE_MS,
        )
        await self._db.write(lambda tx: sign_in_codes.add(tx, code))

    async def take(self, app: App, presented: Presented) -> Taken:
        """Who the holder of the code is. Raises Refused (SIGN_IN_EXPIRED)."""
        found = await self._find(app.app_id, presented.code)
        provider = None if found is None else app.providers.get(found.provider)
        fault = _fault_of(found, presented, app, self._clock())
        if found is None or fault is not None:
            raise await self._refuse(app, found, fault or "unknown", presented)
        said = self._unsealed(found)
        if provider is None or said is None or said.provider_mark != mark_of(provider):
            raise await self._refuse(app, found, "provider_changed", presented)
        return Taken(provider, said.identity, found.code_digest)

    async def end_if_reused(self, app_id: str, code_digest: str, thumbprint: str) -> bool:
        """Ends a code that another key than this one uses, and what has come of it or still would.

        Somebody has the code who should not. RFC 6749 §4.1.2. Done once: a code that everybody knows by then
        locks nobody again. Returns whether a session was locked.
        """
        second = SpendCode(app_id=app_id, code_digest=code_digest, thumbprint=thumbprint, now=self._clock())
        return await self._db.write(partial(_end_what_came_of, second=second))

    async def note_token(self, app: App, provider: Provider, token: str, key: PublicKey | None) -> str:
        """The digest of an ID token that was found to be good, which is spent by the login.

        Only what is signed is digested: a signature may be spelled in several ways. Raises Refused
        (SIGN_IN_EXPIRED) for a token of which another key has made use, or one without a key. Nothing is
        written for a token that is known.
        """
        now = self._clock()
        signed = f"{app.app_id}/{token.rpartition('.')[0]}"
        digest = "idt-" + hashlib.sha256(signed.encode()).hexdigest()
        code = SignInCode(
            app_id=app.app_id,
            code_digest=digest,
            provider=provider.name,
            method="token_exchange",
            sealed="",
            created_at=now,
            expires_at=now + TOKEN_KNOWN_MS,
        )
        known = await self._db.read(lambda tx: sign_in_codes.find(tx, app.app_id, [digest]))
        if known is None:
            known = await self._db.write(partial(_note, code=code))
        holders = ("",) if key is None else ("", key.thumbprint)
        if known is not None and (is_over(known, now) or known.spent_by not in holders):
            log.warning("sso.token_refused", app_id=app.app_id, provider=provider.name, fault="reused")
            raise Refused(EXPIRED, code=SIGN_IN_EXPIRED)
        return digest

    async def _find(self, app_id: str, code: str) -> SignInCode | None:
        if not _CODE.fullmatch(code):
            return None
        digests = self._ring.digests(PURPOSE, _bound(app_id, code))
        return await self._db.read(lambda tx: sign_in_codes.find(tx, app_id, digests))

    async def _refuse(
        self, app: App, found: SignInCode | None, fault: Fault, presented: Presented
    ) -> Refused:
        locked = False
        if fault == "reused" and found is not None and found.spent_by != REUSED:
            locked = await self.end_if_reused(app.app_id, found.code_digest, presented.thumbprint)
        log.warning(
            "sso.code_refused",
            app_id=app.app_id,
            provider=found.provider if found else "",
            fault=fault,
            session_locked=locked,
            address=presented.address,
        )
        return Refused(OTHER_NETWORK if fault == "other_network" else EXPIRED, code=SIGN_IN_EXPIRED)

    def _seal(self, app_id: str, digest: str, said: _Said) -> str:
        return self._ring.seal(msgspec.json.encode(said).decode(), _place(app_id, digest))

    def _unsealed(self, code: SignInCode) -> _Said | None:
        """None where the key that sealed it was taken out of SECRET_KEY within this minute."""
        try:
            plain = self._ring.unseal(code.sealed, _place(code.app_id, code.code_digest))
        except SealBroken:
            return None
        return msgspec.json.decode(plain, type=_Said)


def _fault_of(code: SignInCode | None, presented: Presented, app: App, now: int) -> Fault | None:
    """Why `presented` does not open what `code` keeps. Pure."""
    if code is None or code.method != "sso":
        return "unknown"
    if code.spent_by not in ("", presented.thumbprint):
        return "reused"
    if is_over(code, now):
        return "expired"
    if not _comes_from(code.origin, presented.origin, app):
        return "other_origin"
    here = network_of(presented.address)
    if code.network not in ("", here) and not app.settings.sso_any_network:
        return "other_network"
    if not _is_verified(code.challenge, presented.verifier):
        return "verifier"
    return None


def _comes_from(given_to: str, origin: str | None, app: App) -> bool:
    """Whether the page or app with `origin` is the one that the code was given to.

    A web page has the origin that it was given to, exactly. What a custom scheme has opened is an app, which
    tells none, or that of the web view in it, which the app's operator has listed as well.
    """
    if given_to.startswith(("https://", "http://")):
        return origin == given_to
    return origin is None or origin in app.origins


def _is_verified(challenge: str, verifier: str | None) -> bool:
    """RFC 7636 §4.6; RFC 9700 §2.1.1: a verifier without a challenge betrays that one was cut off."""
    if not challenge or verifier is None:
        return not challenge and verifier is None
    return hmac.compare_digest(challenge_of(verifier).encode(), challenge.encode())


def _end_what_came_of(tx: Transaction, *, second: SpendCode) -> bool:
    """The code is in two hands: neither keeps a session by it, nor gets another.

    The code is held first, then the user and the session, as by a login, which spends first.
    """
    session_id = sign_in_codes.mark_reused(tx, second)
    if not session_id:
        return False
    moved = session_states.reauthenticate(tx, second.app_id, session_id, second.now)
    return isinstance(moved, Session)


def _note(tx: Transaction, *, code: SignInCode) -> SignInCode | None:
    """What is known of the token already. None: it is seen for the first time, and kept."""
    if (known := sign_in_codes.find(tx, code.app_id, [code.code_digest])) is not None:
        return known
    sign_in_codes.add(tx, code)
    return None


def _bound(app_id: str, code: str) -> str:
    return f"{app_id}/{code}"


def _place(app_id: str, digest: str) -> str:
    return f"sign_in_codes.sealed/{app_id}/{digest}"
