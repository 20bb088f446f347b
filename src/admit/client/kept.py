"""What a device keeps of an app, and how it goes on. Pure: values in, values out."""

from typing import Literal

import msgspec
from msgspec.structs import replace

from admit.client.current_user import CurrentUser, Tokens, user_of
from admit.client.errors import CannotReach

RENEW_BEFORE_MS = 300_000
NOT_AS_ADMIT = "What answers at the database URL is not Admit: the tokens of a person are incomplete."


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """The session of a person on this device. Times are UTC milliseconds by the server's clock."""

    session_id: str
    refresh_token: str
    access_token: str
    access_until: int
    renew_at: int
    """When to refresh: 5 minutes before the access token ends; halfway, where it lives for less than ten."""
    user: CurrentUser

    def __repr__(self) -> str:
        return f"Session({self.session_id!r})"


class Farewell(msgspec.Struct, frozen=True):
    """What the server has still to be told of a session that is no longer this device's."""

    kind: Literal["logged_out", "wiped"]
    session_id: str
    refresh_token: str

    def __repr__(self) -> str:
        return f"Farewell({self.kind!r}, {self.session_id!r})"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept of one app. The identifier stays for as long as the file does; the key until a wipe.

    `skew_ms`: how far the server's clock is ahead of this machine's, where that is worth speaking of.
    `newest_stamp`: the newest time that the server has accepted a signature over.
    """

    version: Literal[1] = 1
    device_id: str
    private_key: str | None = None
    session: Session | None = None
    farewells: tuple[Farewell, ...] = ()
    skew_ms: int = 0
    newest_stamp: int = 0

    def __repr__(self) -> str:
        return f"Kept({self.device_id!r}, {self.session!r})"


def session_of(tokens: Tokens, now: int) -> Session:
    """The session that `tokens` begin or continue at `now`. Raises CannotReach where they are no person's."""
    session_id = tokens.claims.get("sid")
    if not isinstance(tokens.claims.get("sub"), str) or not isinstance(session_id, str):
        raise CannotReach(NOT_AS_ADMIT)
    if tokens.refresh_token is None:
        raise CannotReach(NOT_AS_ADMIT)
    life_ms = max(0, tokens.access_token_expiration - now)
    return Session(
        session_id=session_id,
        refresh_token=tokens.refresh_token,
        access_token=tokens.access_token,
        access_until=tokens.access_token_expiration,
        renew_at=tokens.access_token_expiration - min(RENEW_BEFORE_MS, life_ms // 2),
        user=user_of(tokens),
    )


def signed_in(kept: Kept, session: Session, private_key: str) -> Kept:
    """After a login under `private_key`. Of a session that it displaces, the server is told."""
    farewells = kept.farewells
    if kept.session is not None and kept.session.session_id != session.session_id:
        farewells = (*farewells, _farewell("logged_out", kept.session))
    return replace(kept, private_key=private_key, session=session, farewells=farewells)


def renewed(kept: Kept, session: Session) -> Kept:
    """After a refresh of `session`, unless it has meanwhile ceased to be this device's."""
    return replace(kept, session=session) if _has(kept, session.session_id) else kept


def signed_out(kept: Kept, session_id: str) -> Kept:
    """Nobody is signed in; the server is still to be told."""
    if kept.session is None or not _has(kept, session_id):
        return kept
    farewells = (*kept.farewells, _farewell("logged_out", kept.session))
    return replace(kept, session=None, farewells=farewells)


def ended(kept: Kept, session_id: str) -> Kept:
    """The server has said that the session is over: there is nothing to tell."""
    return replace(kept, session=None) if _has(kept, session_id) else kept


def wiping(kept: Kept, session_id: str) -> Kept:
    """The session is to be wiped: of the person nothing stays, of the rest what the confirmation needs."""
    if kept.session is None or not _has(kept, session_id):
        return kept
    farewells = (*kept.farewells, _farewell("wiped", kept.session))
    return replace(kept, session=None, farewells=farewells)


def parted(kept: Kept, farewell: Farewell) -> Kept:
    """The server knows. A wipe takes the key as well, which nobody should trust any more."""
    farewells = tuple(each for each in kept.farewells if each != farewell)
    loses_key = farewell.kind == "wiped" and kept.session is None and not farewells
    return replace(kept, farewells=farewells, private_key=None if loses_key else kept.private_key)


def timed(kept: Kept, skew_ms: int, newest_stamp: int) -> Kept:
    """With what was learnt of the server's clock."""
    return replace(kept, skew_ms=skew_ms, newest_stamp=max(kept.newest_stamp, newest_stamp))


def _farewell(kind: Literal["logged_out", "wiped"], session: Session) -> Farewell:
    return Farewell(kind, session.session_id, session.refresh_token)


def _has(kept: Kept, session_id: str) -> bool:
    return kept.session is not None and kept.session.session_id == session_id
