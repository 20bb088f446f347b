"""Refresh: the device signs its refresh token and the time with the key it showed at login.

contracts/dexie-cloud.md §2. A `public_key` inside a refresh asks for a renewal of the key, which is not
supported: it is ignored, never stored, and above all never used to verify.
"""

from collections.abc import Sequence

import msgspec
import structlog

from admit.accounts import sessions
from admit.accounts.apps import App
from admit.accounts.keys import verify_rsa
from admit.accounts.refreshes import Accepted, NotAccepted, Refresh, accept_refresh
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
STALE = "time_stamp is older than a refresh that was accepted before. Sign the present time."

log = structlog.get_logger("admit.signin")


class SignedRefresh(msgspec.Struct, frozen=True, kw_only=True):
    """What the device sends. `time_stamp` is in UTC milliseconds, `signature` in standard padded base64."""

    refresh_token: str
    time_stamp: int
    signing_algorithm: str
    signature: str
    scopes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"SignedRefresh({self.time_stamp})"


class Refreshed(msgspec.Struct, frozen=True):
    """The session goes on with `scopes`. The user may be expired or deactivated: their license tells."""

    user: User
    session: Session
    scopes: tuple[str, ...]


async def refresh(db: Database, mint: Mint, clock: Clock, app: App, request: SignedRefresh) -> Refreshed:
    """Verifies the signature and continues the session.

    The same request may come again within a minute of the newest accepted one: two tabs send it at once.
    Raises InvalidRequest, InvalidGrant, and Forbidden for scopes that the session does not have. Nothing is
    revoked for a request that fails, or anybody could end anybody's session.
    """
    if request.signing_algorithm != SIGNING_ALGORITHM:
        raise InvalidRequest(OTHER_ALGORITHM)
    now = clock()
    token = mint.read_refresh(request.refresh_token)
    if token.app_id != app.app_id:
        raise _refused(app, token.session_id, "token", NOT_VALID_HERE)
    if abs(now - request.time_stamp) > MARGIN_MS:
        raise _refused(app, token.session_id, "clock", WRONG_CLOCK)
    session = await db.read(lambda tx: sessions.find(tx, app.app_id, token.session_id))
    if session is None:
        raise _refused(app, token.session_id, "unknown", NOT_VALID_HERE)
    if not verify_rsa(session.public_key, signed_bytes(request), request.signature):
        raise _refused(app, session.session_id, "signature", WRONG_SIGNATURE)
    if not client_still_vouches(app, session):
        raise _refused(app, session.session_id, "client", CLIENT_ENDED)
    scopes = _scopes_within(session, request.scopes)
    outcome = await db.write_together(
        accept_refresh,
        Refresh(
            app_id=app.app_id,
            session_id=session.session_id,
            key_thumbprint=session.key_thumbprint,
            time_stamp=request.time_stamp,
            now=now,
        ),
    )
    match outcome:
        case Accepted(user=user, session=continued):
            log.info("refresh.accepted", app_id=app.app_id, session_id=session.session_id, uid=user.uid)
            return Refreshed(user, continued, scopes)
        case NotAccepted(reason=reason):
            sentence = STALE if reason == "stale" else NOT_VALID_HERE
            raise _refused(app, session.session_id, reason, sentence)


def signed_bytes(request: SignedRefresh) -> bytes:
    """What the signature is over: the token in UTF-8, and right behind it the time in decimal digits."""
    return request.refresh_token.encode() + str(request.time_stamp).encode()


def client_still_vouches(app: App, session: Session) -> bool:
    """Whether the API client behind the session, if there is one, still exists and has the same secret."""
    if session.client_id is None:
        return True
    client = app.clients.get(session.client_id)
    return client is not None and client.secret_changed_at <= session.authenticated_at


def _scopes_within(session: Session, asked: Sequence[str]) -> tuple[str, ...]:
    granted = tuple(session.scopes.split())
    for scope in asked:
        if scope not in granted:
            raise Forbidden(f"This session does not have the scope {scope[:40]!r}.")
    return tuple(dict.fromkeys(asked)) or granted


def _refused(app: App, session_id: str, reason: str, sentence: str) -> InvalidGrant:
    log.warning("refresh.refused", app_id=app.app_id, session_id=session_id, reason=reason)
    return InvalidGrant(sentence)
