"""Operator tokens: who may use the admin API, for what, and until when."""

import base64
import binascii

import msgspec
from sqlalchemy import Row, bindparam, insert, select, update

from admit import clock
from admit.errors import Forbidden, InvalidRequest, InvalidToken
from admit.operators.roles import SCOPES
from admit.operators.tables import operator_tokens
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

TOKEN_PREFIX = "adm_"  # noqa: S105  (so that scanners of leaked secrets know ours)
COMMAND_PREFIX = "adm_command_"
COMMAND_ID = "command"
COMMAND_MS = 60_000
TOKEN_CHARACTERS_MAX = 200
LABEL_CHARACTERS_MAX = 100
TOKENS_MAX = 1_000

ADD_TOKEN = insert(operator_tokens)
FIND_TOKEN = select(operator_tokens).where(operator_tokens.c.digest.in_(bindparam("digests", expanding=True)))
LIST_TOKENS = (
    select(operator_tokens)
    .order_by(operator_tokens.c.created_at.desc(), operator_tokens.c.token_id.desc())
    .limit(TOKENS_MAX)
)
REVOKE_TOKEN = (
    update(operator_tokens)
    .where(operator_tokens.c.token_id == bindparam("token"), operator_tokens.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("now"))
)

_TOKEN = "operator-token"  # noqa: S105
_COMMAND = "operator-command"


class OperatorToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a token of the admin API may do. `app_id`: in that app only; None: everywhere."""

    token_id: str
    label: str
    app_id: str | None
    scopes: frozenset[str]
    created_at: int
    expires_at: int | None
    revoked_at: int | None = None

    @property
    def revocable_id(self) -> str | None:
        """Its id where it is kept, and can be revoked. None: it was made for one command on this machine."""
        return None if self.token_id == COMMAND_ID else self.token_id


class NewOperatorToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token right after its creation: the only moment in which it can be read."""

    token: str
    about: OperatorToken

    def __repr__(self) -> str:
        return f"NewOperatorToken({self.about.token_id!r})"


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks a new token to be. `check_new_token` says what is allowed."""

    label: str
    scopes: frozenset[str]
    app_id: str | None = None
    expires_at: int | None = None


def check_new_token(new: NewToken, now: int) -> NewToken:
    """Returns `new` where it may be created. Raises InvalidRequest with a sentence."""
    if not new.scopes or (new.scopes - SCOPES):
        raise InvalidRequest(f"An operator token needs scopes out of: {', '.join(sorted(SCOPES))}.")
    if len(new.label) > LABEL_CHARACTERS_MAX or not new.label.isprintable() or not new.label.strip():
        raise InvalidRequest(f"A label is one line of 1 to {LABEL_CHARACTERS_MAX} characters.")
    if new.expires_at is not None and new.expires_at <= now:
        raise InvalidRequest("The token would have expired already.")
    return new


def create_token(tx: Transaction, ring: KeyRing, new: NewToken, now: int) -> NewOperatorToken:
    """Creates an operator token. Raises InvalidRequest as `check_new_token` does: doors ask that first."""
    check_new_token(new, now)
    token = clock.new_secret(TOKEN_PREFIX)
    about = OperatorToken(
        token_id=clock.new_id("opt"),
        label=new.label,
        app_id=new.app_id,
        scopes=new.scopes,
        created_at=now,
        expires_at=new.expires_at,
    )
    row = {**msgspec.structs.asdict(about), "scopes": " ".join(sorted(new.scopes))}
    tx.execute(ADD_TOKEN, {**row, "digest": ring.digest(_TOKEN, token)})
    return NewOperatorToken(token=token, about=about)


def list_tokens(tx: Transaction) -> list[OperatorToken]:
    """The newest TOKENS_MAX operator tokens, revoked and expired ones too, newest first."""
    return [_about(row) for row in tx.execute(LIST_TOKENS)]


def revoke_token(tx: Transaction, token_id: str, now: int) -> bool:
    """Ends a token at once. False: there is none of this id that lives."""
    return tx.execute(REVOKE_TOKEN, {"token": token_id, "now": now}).rowcount == 1


def find_token(tx: Transaction, ring: KeyRing, token: str, now: int) -> OperatorToken | None:
    """What a stored token may do at `now`. None: unknown, revoked or expired."""
    row = tx.execute(FIND_TOKEN, {"digests": ring.digests(_TOKEN, token)}).one_or_none()
    if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        return None
    return _about(row)


async def authenticate(db: Database, ring: KeyRing, token: str, now: int) -> OperatorToken:
    """What `token` may do at `now`, looked up every time so that a revocation holds at once.

    Raises InvalidToken.
    """
    known = None
    if len(token) <= TOKEN_CHARACTERS_MAX and token.isascii():
        if token.startswith(COMMAND_PREFIX):
            known = read_short_lived(ring, token, now)
        elif token.startswith(TOKEN_PREFIX):
            known = await db.read(lambda tx: find_token(tx, ring, token, now))
    if known is None:
        raise InvalidToken("The operator token is not valid. Make one with: admit token create")
    return known


def require(token: OperatorToken, scope: str, app_id: str | None) -> None:
    """Raises Forbidden unless `token` has `scope` in the app. `app_id` None: for what belongs to no app."""
    if scope not in token.scopes:
        raise Forbidden(f"This operator token lacks the scope {scope}.")
    if token.app_id is not None and token.app_id != app_id:
        raise Forbidden("This operator token is for another app.")


def require_may_grant(holder: OperatorToken, new: NewToken) -> None:
    """Raises Forbidden where `holder` would make a token that reaches further, or lives longer, than it."""
    require(holder, "tokens:write", new.app_id)
    if beyond := sorted(new.scopes - holder.scopes):
        raise Forbidden(f"This operator token cannot give the scope {beyond[0]}, which it lacks.")
    if holder.expires_at is not None and (new.expires_at is None or new.expires_at > holder.expires_at):
        raise Forbidden("This operator token cannot make one that lives longer than itself.")


def short_lived(ring: KeyRing, now: int) -> str:
    """A token for one command on this machine: whoever can read SECRET_KEY may do everything, for 60 s."""
    body = f"{COMMAND_PREFIX}{now + COMMAND_MS}_{clock.random_bytes(8).hex()}"
    return f"{body}.{base64.urlsafe_b64encode(ring.mac(_COMMAND, body.encode())).rstrip(b'=').decode()}"


def read_short_lived(ring: KeyRing, token: str, now: int) -> OperatorToken | None:
    """What a token made by `short_lived` may do at `now`. None: not ours, or over."""
    body, _, mac = token.partition(".")
    try:
        raw = base64.b64decode(mac + "=" * (-len(mac) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if not body.startswith(COMMAND_PREFIX) or not ring.verify_mac(_COMMAND, body.encode(), raw):
        return None
    expires_at = int(body.removeprefix(COMMAND_PREFIX).partition("_")[0])
    if not now < expires_at <= now + COMMAND_MS:
        return None
    return OperatorToken(
        token_id=COMMAND_ID,
        label="a command on this machine",
        app_id=None,
        scopes=SCOPES,
        created_at=expires_at - COMMAND_MS,
        expires_at=None,  # for what it makes: whoever can read SECRET_KEY may do that again at any time
    )


def _about(row: Row[tuple[object, ...]]) -> OperatorToken:
    return OperatorToken(
        token_id=row.token_id,
        label=row.label,
        app_id=row.app_id,
        scopes=frozenset(row.scopes.split()),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
