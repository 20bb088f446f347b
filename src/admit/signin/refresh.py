"""Refresh: the device signs its refresh token and the time with the key it showed at login.

contracts/dexie-cloud.md §2. A `public_key` inside a refresh is to be the session's key from now on. Only the
present key is asked whether it has signed, never the one that comes along.
"""

from collections.abc import Sequence

import msgspec
import structlog

from admit.accounts import former_keys
from admit.accounts.acting import may_act_for_others
from admit.accounts.apps import App
from admit.accounts.keys import PublicKey, verify_rsa
from admit.accounts.refreshes import Accepted, NotAccepted, Reason, Refresh, accept_refresh
from admit.accounts.session_standing import SENTENCES, End, Tenant, end_of, find_tenants
from admit.accounts.sessions import Session
from admit.accounts.tokens import Mint
from admit.accounts.users import User
from admit.clock import Clock
from admit.errors import Forbidden, InvalidGrant, InvalidRequest
from admit.storage.database import Database

SIGNING_ALGORITHM = "RSASSA-PKCS1-v1_5"
MARGIN_MS = 600_000

OTHER_ALGORITHM = f"signing_algorithm must be {SIGNING_ALGORITHM!r} (RSASSA-PKCS1-v1_5 with SHA-256)."
WRONG_CLOCK = "time_stamp is more than 10 minutes away from the server's clock. Set the device's clock."
WRONG_SIGNATURE = "The signature is not that of the key which signed in."
NOT_VALID_HERE = "The refresh token is not valid here. Sign in again."
CLIENT_ENDED = "The API client that vouched for this session was revoked or has a new secret. Sign in again."
ACTOR_ENDED = "Whoever signed in as this person may not do so any more."
STALE = "time_stamp is older than a refresh that was accepted before. Sign the present time."

log = structlog.get_logger("admit.signin")


class SignedRefresh(msgspec.Struct, frozen=True, kw_only=True):
    """What the device sends. `time_stamp` is in UTC milliseconds, `signature` in standard padded base64.

    `new_key`: the key that it wants to sign with from now on.
    """

    refresh_token: str
    time_stamp: int
    signing_algorithm: str
    signature: str
    scopes: tuple[str, ...] = ()
    new_key: PublicKey | None = None

    def __repr__(self) -> str:
        return f"SignedRefresh({self.time_stamp})"


class Refreshed(msgspec.Struct, frozen=True):
    """The session goes on with `scopes`. The user may be expired or deactivated: their license tells."""

    user: User
    session: Session
    scopes: tuple[str, ...]


class Signed(msgspec.Struct, frozen=True):
    """A request that a key of this session has signed: the present one, or the one that it replaced."""

    tenant: Tenant
    key_thumbprint: str


async def refresh(db: Database, mint: Mint, clock: Clock, app: App, request: SignedRefresh) -> Refreshed:
    """Verifies the signature and continues the session.

    The same request may come again within a minute of the newest accepted one: two tabs send it at once.
    Raises InvalidRequest, InvalidGrant with the code of an `End` where the session does not go on, and
    Forbidden for scopes that it does not have. Nothing is revoked for a request that fails, or anybody could
    end anybody's session.
    """
    signed = await verify(db, mint, clock, app, request)
    session, now = signed.tenant.session, clock()
    idle_days = app.settings.session_idle_days
    if (end := end_of(session, signed.tenant.user, now=now, idle_days=idle_days)) is not None:
        raise _ended(app, session.session_id, end)
    require_client(app, session, now)
    if session.actor is not None and not may_act_for_others(app, session.actor, now):
        raise _refused(app, session.session_id, "actor", ACTOR_ENDED)
    scopes = _scopes_within(session, request.scopes)
    outcome = await db.write_together(
        accept_refresh,
        Refresh(
            app_id=app.app_id,
            session_id=session.session_id,
            key_thumbprint=signed.key_thumbprint,
            time_stamp=request.time_stamp,
            now=now,
            new_key=request.new_key,
            session_idle_days=idle_days,
        ),
    )
    match outcome:
        case Accepted(user=user, session=continued):
            log.info(
                "refresh.accepted",
                app_id=app.app_id,
                session_id=session.session_id,
                uid=user.uid,
                new_key=request.new_key is not None,
            )
            return Refreshed(user, continued, scopes)
        case NotAccepted(reason=reason):
            raise _not_accepted(app, session.session_id, reason)


async def verify(db: Database, mint: Mint, clock: Clock, app: App, request: SignedRefresh) -> Signed:
    """Whose request this is, whatever has become of the session. Raises InvalidRequest and InvalidGrant."""
    if request.signing_algorithm != SIGNING_ALGORITHM:
        raise InvalidRequest(OTHER_ALGORITHM)
    now = clock()
    token = mint.read_refresh(request.refresh_token)
    if token.app_id != app.app_id:
        raise _refused(app, token.session_id, "token", NOT_VALID_HERE)
    if abs(now - request.time_stamp) > MARGIN_MS:
        raise _refused(app, token.session_id, "clock", WRONG_CLOCK)
    tenant = await db.read_together(find_tenants, (app.app_id, token.session_id))
    if tenant is None:
        raise _refused(app, token.session_id, "unknown", NOT_VALID_HERE)
    signer = await _signer(db, tenant.session, request, now)
    if signer is None:
        raise _refused(app, token.session_id, "signature", WRONG_SIGNATURE)
    return Signed(tenant, signer)


async def _signer(db: Database, session: Session, request: SignedRefresh, now: int) -> str | None:
    """The thumbprint of the key that has signed: the session's, or the one that it has just replaced."""
    if verify_rsa(session.public_key, signed_bytes(request), request.signature):
        return session.key_thumbprint
    former = await db.read(lambda tx: former_keys.find(tx, session.app_id, session.session_id))
    if former is None or now >= former.until:
        return None
    if verify_rsa(former.public_key, signed_bytes(request), request.signature):
        return former.key_thumbprint
    return None


def signed_bytes(request: SignedRefresh) -> bytes:
    """What the signature is over: the token in UTF-8, and right behind it the time in decimal digits."""
    return request.refresh_token.encode() + str(request.time_stamp).encode()


def require_client(app: App, session: Session, now: int) -> None:
    """Raises InvalidGrant where the API client behind a session, if there is one, does not vouch any more."""
    if not client_still_vouches(app, session, now):
        raise _refused(app, session.session_id, "client", CLIENT_ENDED)


def client_still_vouches(app: App, session: Session, now: int) -> bool:
    """Whether the API client behind the session, if there is one, still lives and has the same secret."""
    if session.client_id is None:
        return True
    client = app.clients.get(session.client_id)
    if client is not None and not client.lives(now):
        return False
    return client is not None and client.secret_changed_at <= session.authenticated_at


def _scopes_within(session: Session, asked: Sequence[str]) -> tuple[str, ...]:
    granted = tuple(session.scopes.split())
    for scope in asked:
        if scope not in granted:
            raise Forbidden(f"This session does not have the scope {scope[:40]!r}.")
    return tuple(dict.fromkeys(asked)) or granted


def _not_accepted(app: App, session_id: str, reason: Reason) -> InvalidGrant:
    match reason:
        case "stale" | "used":
            return _refused(app, session_id, reason, STALE)
        case "unknown" | "other_key":
            return _refused(app, session_id, reason, NOT_VALID_HERE)
        case _:
            return _ended(app, session_id, reason)


def _ended(app: App, session_id: str, end: End) -> InvalidGrant:
    return _refused(app, session_id, end, SENTENCES[end], code=end)


def _refused(
    app: App, session_id: str, reason: str, sentence: str, *, code: str | None = None
) -> InvalidGrant:
    log.warning("refresh.refused", app_id=app.app_id, session_id=session_id, reason=reason)
    return InvalidGrant(sentence, code=code)
