"""Tokens: access tokens (RFC 9068) that one app issues for itself, and refresh tokens that nothing stores."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import structlog
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from admit import clock
from admit.accounts.signing_keys import (
    TOKEN_SECONDS_MAX,
    SigningKey,
    key_that_signs,
    load_keys,
    next_key_due_at,
    tend_keys,
)
from admit.clock import Clock
from admit.errors import InvalidGrant, InvalidRequest, InvalidToken
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

TOKEN_CHARACTERS_MAX = 16_000
BELIEVED_MAX = 4_096
BELIEVED_CHARACTERS_MAX = 2_000
CLOCK_SKEW_SECONDS = 60
LOOK_SECONDS = 300.0
LOOK_SECONDS_MIN = 1.0
REFRESH_PREFIX = "art_"
SIGNATURE_CHARACTERS = 86
MAC_CHARACTERS = 43

_ES256 = JWSRegistry.algorithms["ES256"]
_REFRESH = "refresh-token"

log = structlog.get_logger("admit.accounts")


class Minted(msgspec.Struct, frozen=True):
    """A new access token and when it ends."""

    token: str
    expires_at_ms: int

    def __repr__(self) -> str:
        return f"Minted(expires_at_ms={self.expires_at_ms})"


class Actor(msgspec.Struct, frozen=True):
    """Who acts in the name of the subject: an owner, by email. RFC 8693 §4.1."""

    sub: str


class AccessClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid access token says. `raw`: all of its claims as JSON. Times are in seconds.

    `client_since` alone is in UTC ms: when the client `client_id` got the secret by which it had signed in.
    `unproven`: a client vouched for a user whose email nobody had proven.
    """

    iss: str
    aud: str
    sub: str
    iat: int
    exp: int
    jti: str
    scopes: tuple[str, ...] = ()
    email: str = ""
    name: str = ""
    license: str = ""
    client_id: str | None = None
    client_since: int = 0
    unproven: bool = False
    sid: str | None = None
    act: Actor | None = None
    nbf: int | None = None
    raw: msgspec.Raw = msgspec.Raw(b"{}")


class RefreshClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a refresh token says. Whether its session lives, and in this app, is for the caller to ask."""

    app_id: str
    session_id: str
    expires_at: int


class Mint:
    """Issues and verifies the tokens of every app, and keeps the keys that sign them."""

    def __init__(
        self, db: Database, ring: KeyRing, clock: Clock, access_token_seconds: int, refresh_token_days: int
    ) -> None:
        self._db = db
        self._ring = ring
        self._clock = clock
        self._access_token_seconds = access_token_seconds
        self.refresh_token_days = refresh_token_days
        self._keys: tuple[SigningKey, ...] = ()
        self._by_header: dict[str, SigningKey] = {}
        self._headers: dict[str, str] = {}
        self._believed: dict[str, AccessClaims] = {}
        self._wake = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self._end_subscription = db.signals.subscribe("keys", self._heard)

    async def load(self) -> None:
        """Loads the keys, makes the first one, and tends them until `close`. Raises ConfigError.

        A key signs for 90 days and is published an hour before. Its successor is made by whichever process
        comes first; the others hear of it by signal, or when they look, every LOOK_SECONDS.
        """
        await self._tend()
        self._tending = asyncio.create_task(self._keep_tending())

    async def close(self) -> None:
        """Stops tending the keys."""
        self._end_subscription()
        if self._tending is not None:
            self._tending.cancel()
            with suppress(asyncio.CancelledError):
                await self._tending

    def access(
        self,
        *,
        app_id: str,
        issuer: str,
        claims: Mapping[str, object],
        expires_in_seconds: int | None = None,
        not_before_ms: int | None = None,
    ) -> Minted:
        """Issues an access token of the app for itself: `iss` is its `issuer`, `aud` its `app_id`.

        `claims` have at least `sub`; those that are None are left out. The life of the token begins at
        `not_before_ms`, or now. Raises InvalidRequest where it would end after TOKEN_SECONDS_MAX from now.
        """
        now_ms = self._clock()
        now = now_ms // 1_000
        begins, seconds = self.life(now, expires_in_seconds, not_before_ms)
        payload = {name: value for name, value in claims.items() if value is not None} | {
            "iss": issuer,
            "aud": app_id,
            "iat": now,
            "exp": begins + seconds,
            "jti": clock.new_id("jti"),
        }
        if begins > now:
            payload["nbf"] = begins
        key = key_that_signs(self._keys, now_ms)
        signed = f"{self._headers[key.key_id]}.{_encode(msgspec.json.encode(payload))}"
        signature = _encode(_ES256.sign(signed.encode(), key.private))
        return Minted(f"{signed}.{signature}", (begins + seconds) * 1_000)

    def life(self, now: int, expires_in_seconds: int | None, not_before_ms: int | None) -> tuple[int, int]:
        """When a token that is asked for at `now` (seconds) would begin, and for how many seconds it lives.

        Raises InvalidRequest as `access` does: doors ask before they let anybody in.
        """
        begins = now if not_before_ms is None else max(now, -(-not_before_ms // 1_000))
        seconds = self._access_token_seconds if expires_in_seconds is None else expires_in_seconds
        if seconds < 1 or begins + seconds > now + TOKEN_SECONDS_MAX:
            raise InvalidRequest(f"An access token lives for 1 second to {TOKEN_SECONDS_MAX // 86_400} days.")
        return begins, seconds

    def verify(self, token: str, *, app_id: str) -> AccessClaims:
        """What `token` says, if this app has issued it and it is valid now. Raises InvalidToken.

        The app is told by `aud` alone, which no change of addresses can hand to another app. `iss` is for
        others: it is the app's address at the time, and a token outlives a change of address.
        """
        claims = self._believed.get(token)
        if claims is None:
            claims = self._read(token)
            self._believe(token, claims)
        self._check(claims, app_id=app_id)
        return claims

    def _believe(self, token: str, claims: AccessClaims) -> None:
        """Spares the next call the signature, a dear part of many calls. All else is looked at again."""
        if len(token) <= BELIEVED_CHARACTERS_MAX:
            if len(self._believed) >= BELIEVED_MAX:
                del self._believed[next(iter(self._believed))]
            self._believed[token] = claims

    def _read(self, token: str) -> AccessClaims:
        """What `token` says, if a key of this server has signed it. Raises InvalidToken."""
        if len(token) > TOKEN_CHARACTERS_MAX or token.count(".") != 2:
            raise InvalidToken("The access token is malformed.")
        header, payload, signature = token.split(".")
        # The header is compared, not read: what alg, typ, crit or jwk says cannot matter.
        key = self._by_header.get(header)
        if key is None:
            self._wake.set()  # perhaps another process has rotated, and its signal was lost
            raise InvalidToken("The access token was not signed by a key of this server.")
        if not _is_signed(f"{header}.{payload}", signature, key.private):
            raise InvalidToken("The signature of the access token is wrong.")
        return _claims_of(payload)

    def refresh(self, *, app_id: str, session_id: str, expires_at: int) -> str:
        """Issues a refresh token: content and MAC. Nothing is stored; the session is the authority."""
        content = f"{app_id}.{session_id}.{expires_at}.{clock.new_id('n')}"
        body = REFRESH_PREFIX + _encode(content.encode())
        return f"{body}.{_encode(self._ring.mac(_REFRESH, body.encode()))}"

    def read_refresh(self, token: str) -> RefreshClaims:
        """What `token` says, if we made it and it has not expired. Raises InvalidGrant."""
        body, _, mac = token.partition(".")
        if (
            len(token) > TOKEN_CHARACTERS_MAX
            or not body.startswith(REFRESH_PREFIX)
            or not (raw := _decode(mac, MAC_CHARACTERS))
            or not body.isascii()
            or not self._ring.verify_mac(_REFRESH, body.encode(), raw)
        ):
            raise InvalidGrant("The refresh token is not valid.")
        content = _decode(body.removeprefix(REFRESH_PREFIX)).decode()
        app_id, session_id, expires_at, _ = content.split(".")
        if self._clock() >= int(expires_at):
            raise InvalidGrant("The refresh token has expired. Sign in again.")
        return RefreshClaims(app_id=app_id, session_id=session_id, expires_at=int(expires_at))

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The JSON Web Key Set (RFC 7517 §5) of all keys whose tokens may be about, and of the next one."""
        return {"keys": [_public_jwk(key) for key in self._keys if self._is_published(key)]}

    def _check(self, claims: AccessClaims, *, app_id: str) -> None:
        now = self._clock() // 1_000
        if claims.aud != app_id:
            raise InvalidToken("The access token belongs to another app.")
        if now >= claims.exp:
            raise InvalidToken("The access token has expired.")
        if claims.iat > now + CLOCK_SKEW_SECONDS or (claims.nbf is not None and claims.nbf > now):
            raise InvalidToken("The access token is not valid yet.")

    def _is_published(self, key: SigningKey) -> bool:
        return key.published_until is None or key.published_until > self._clock()

    def _heard(self, _key: str | None) -> None:
        self._wake.set()

    async def _keep_tending(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._tend()
            except Exception:  # what is loaded goes on signing; the next look is in LOOK_SECONDS
                log.exception("keys.not_tended")
            await asyncio.sleep(LOOK_SECONDS_MIN)  # strangers can wake us, by tokens with unknown keys

    async def _tend(self) -> None:
        """Reads the keys, and writes only where something is due."""
        keys = await self._db.read(partial(load_keys, ring=self._ring))
        now = self._clock()
        due = not keys or now >= next_key_due_at(keys[-1]) or not all(map(self._is_published, keys))
        if due:
            keys = await self._db.write(partial(tend_keys, ring=self._ring, now=now), patient=True)
        self._take(keys)

    def _take(self, keys: tuple[SigningKey, ...]) -> None:
        if [key.key_id for key in keys] != [key.key_id for key in self._keys]:
            log.info("keys.loaded", key_ids=[key.key_id for key in keys])
        self._headers = {key.key_id: _header_of(key.key_id) for key in keys}
        self._by_header = {self._headers[key.key_id]: key for key in keys}
        self._keys = keys
        self._believed.clear()  # a key may have gone


def _header_of(key_id: str) -> str:
    return _encode(msgspec.json.encode({"alg": "ES256", "typ": "at+jwt", "kid": key_id}))


def _is_signed(signed: str, signature: str, key: ECKey) -> bool:
    raw = _decode(signature, SIGNATURE_CHARACTERS)
    return bool(raw) and signed.isascii() and _ES256.verify(signed.encode(), raw, key)


def _claims_of(payload: str) -> AccessClaims:
    raw = _decode(payload)
    try:
        return msgspec.structs.replace(msgspec.json.decode(raw, type=AccessClaims), raw=msgspec.Raw(raw))
    except msgspec.DecodeError as error:
        raise InvalidToken("The access token is malformed.") from error


def _public_jwk(key: SigningKey) -> dict[str, Any]:
    public: dict[str, Any] = key.private.as_dict(private=False)
    return {name: public[name] for name in ("kty", "crv", "x", "y", "kid", "use", "alg")}


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str, length: int | None = None) -> bytes:
    """The bytes of unpadded base64url in the one spelling that encoding gives them; b"" for all else."""
    if length is not None and len(text) != length:
        return b""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if _encode(raw) == text else b""
