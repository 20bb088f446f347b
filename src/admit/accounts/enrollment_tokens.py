"""Enrollment tokens: who holds one may enroll a device as a certain user, so many times, for a while.

An operator makes them for links and QR codes. The functions are units of work, or parts of one.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    BigInteger,
    Text,
    bindparam,
    case,
    column,
    delete,
    func,
    insert,
    select,
    table,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import (
    insert as insert_or_update,
)  # its ON CONFLICT reads the same on SQLite

from admit import clock
from admit.accounts import devices, sessions, users
from admit.accounts.devices import DeviceSent
from admit.accounts.sessions import Session
from admit.accounts.tables import clients, enrollment_tokens
from admit.accounts.tables import enrollment_token_uses as uses_table
from admit.accounts.users import User
from admit.errors import Conflict, InvalidRequest, NotFound
from admit.storage.lookups import Lookup
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

TOKEN_PREFIX = "enr_"  # noqa: S105  (so that scanners of leaked secrets know ours)
SECONDS_DEFAULT = 900
SECONDS_MIN = 60
SECONDS_MAX = 30 * 24 * 3_600
USES_MAX = 1_000
LIVE_PER_USER_MAX = 100
PAGE_ROWS_MAX = 1_000
BEHIND_ALL = "~"
"""Larger than every token_id."""

_PURPOSE = "enrollment-token"
_TOKEN = re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}")

State = Literal["active", "used", "expired", "revoked"]
Fault = Literal["unknown", "used", "expired", "revoked", "other_device"]


class EnrollmentToken(msgspec.Struct, frozen=True):
    """A token as it is kept; the fields are columns of the table. `device_id`: good on that device only.

    `client_id`: the API client that made it, by the secret that it had got at `client_since`;
    `operator_token_id`: the operator token that did. Whatever ends them ends it, at `revoked_at`.
    """

    app_id: str
    token_id: str
    uid: str
    device_id: str | None
    uses_max: int
    uses: int
    created_at: int
    expires_at: int
    revoked_at: int | None
    client_id: str | None
    client_since: int | None
    operator_token_id: str | None

    def state(self, now: int) -> State:
        """What has become of it."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at <= now:
            return "expired"
        return "active" if self.uses < self.uses_max else "used"


class Maker(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a token: an API client, whose secret is of `client_since`, or an operator token.

    Neither: a command on the machine itself, which nobody can revoke.
    """

    client_id: str | None = None
    client_since: int | None = None
    operator_token_id: str | None = None


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks a token to be: good for `uses_max` enrollments within `seconds`."""

    uid: str
    maker: Maker = Maker()
    device_id: str | None = None
    uses_max: int = 1
    seconds: int = SECONDS_DEFAULT


class Minted(msgspec.Struct, frozen=True):
    """A token right after it was made: the only moment in which it can be read."""

    token: str
    about: EnrollmentToken

    def __repr__(self) -> str:
        return f"Minted({self.about.token_id!r})"


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """A token at the door: digests of it under every key, and who brings it from which device."""

    app_id: str
    digests: tuple[str, ...]
    key_thumbprint: str
    device_id: str | None
    now: int


class Redeemable(msgspec.Struct, frozen=True):
    """A token that opens. `session`: the one that this key has got by it already, which stands; then it asks
    again, and nothing more is used."""

    token: EnrollmentToken
    session: Session | None


operator_tokens = table("operator_tokens", column("token_id", Text), column("revoked_at", BigInteger))
operators = table("operators", column("operator_id", Text), column("deactivated_at", BigInteger))
"""Of a room above this one: read here, so that a revocation of whoever made a token holds at once."""

_NOW = bindparam("now", type_=BigInteger)
_REVOKED_AT = func.coalesce(
    enrollment_tokens.c.revoked_at,
    operator_tokens.c.revoked_at,
    operators.c.deactivated_at,
    clients.c.revoked_at,
    case((clients.c.secret_changed_at > enrollment_tokens.c.client_since, clients.c.secret_changed_at)),
    case((clients.c.expires_at <= _NOW, clients.c.expires_at)),
)
"""When a token was revoked, by itself or with who made it. An operator token that expires ends nothing."""

_MADE = (
    enrollment_tokens.outerjoin(
        operator_tokens, operator_tokens.c.token_id == enrollment_tokens.c.operator_token_id
    )
    .outerjoin(operators, operators.c.operator_id == enrollment_tokens.c.operator_token_id)
    .outerjoin(
        clients,
        (clients.c.app_id == enrollment_tokens.c.app_id)
        & (clients.c.client_id == enrollment_tokens.c.client_id),
    )
)
_TOKENS = select(
    *(
        _REVOKED_AT.label(name) if name == "revoked_at" else enrollment_tokens.c[name]
        for name in EnrollmentToken.__struct_fields__
    )
).select_from(_MADE)

BY_DIGEST = Lookup(_TOKENS, (enrollment_tokens.c.app_id, enrollment_tokens.c.digest))
_THIS = (enrollment_tokens.c.app_id == bindparam("app")) & (
    enrollment_tokens.c.token_id == bindparam("token")
)
_OF_USER = (enrollment_tokens.c.app_id == bindparam("app")) & (enrollment_tokens.c.uid == bindparam("uid"))
ADD = insert(enrollment_tokens)
COUNT_LIVE = (
    select(func.count())
    .select_from(_MADE)
    .where(
        _OF_USER,
        enrollment_tokens.c.expires_at > _NOW,
        _REVOKED_AT.is_(None),
        enrollment_tokens.c.uses < enrollment_tokens.c.uses_max,
    )
)
PAGE_OF_USER = (
    _TOKENS.where(_OF_USER, enrollment_tokens.c.token_id < bindparam("before"))
    .order_by(enrollment_tokens.c.token_id.desc())
    .limit(bindparam("limit"))
)
REVOKE = (
    update(enrollment_tokens)
    .where(_THIS, enrollment_tokens.c.uid == bindparam("whose"), enrollment_tokens.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("now"))
)
KNOWS = select(enrollment_tokens.c.token_id).where(_THIS, enrollment_tokens.c.uid == bindparam("whose"))
SESSION_OF_USE = select(uses_table.c.session_id).where(
    uses_table.c.app_id == bindparam("app"),
    uses_table.c.token_id == bindparam("token"),
    uses_table.c.key_thumbprint == bindparam("key"),
)
COUNT_USE = update(enrollment_tokens).where(_THIS).values(uses=enrollment_tokens.c.uses + 1)
_use = insert_or_update(uses_table)
NOTE_USE = _use.on_conflict_do_update(
    index_elements=["app_id", "token_id", "key_thumbprint"],
    set_={"session_id": _use.excluded.session_id, "used_at": _use.excluded.used_at},
)
_USE_KEY = tuple_(uses_table.c.app_id, uses_table.c.token_id, uses_table.c.key_thumbprint)
PRUNE_USES = delete(uses_table).where(
    _USE_KEY.in_(
        select(uses_table.c.app_id, uses_table.c.token_id, uses_table.c.key_thumbprint)
        .join_from(
            enrollment_tokens,
            uses_table,
            (uses_table.c.app_id == enrollment_tokens.c.app_id)
            & (uses_table.c.token_id == enrollment_tokens.c.token_id),
        )
        .where(enrollment_tokens.c.expires_at <= bindparam("before"))
        .limit(bindparam("most"))
    )
)
PRUNE_TOKENS = delete(enrollment_tokens).where(
    tuple_(enrollment_tokens.c.app_id, enrollment_tokens.c.token_id).in_(
        select(enrollment_tokens.c.app_id, enrollment_tokens.c.token_id)
        .where(enrollment_tokens.c.expires_at <= bindparam("before"))
        .limit(bindparam("most"))
    )
)


def check(new: NewToken) -> NewToken:
    """Returns `new` where it may be made. Raises InvalidRequest with a sentence."""
    if not SECONDS_MIN <= new.seconds <= SECONDS_MAX:
        raise InvalidRequest(f"An enrollment token lives for {SECONDS_MIN} to {SECONDS_MAX} seconds.")
    if not 1 <= new.uses_max <= USES_MAX:
        raise InvalidRequest(f"An enrollment token is good for 1 to {USES_MAX} uses.")
    if new.device_id is not None:
        fits = 1 <= len(new.device_id) <= devices.DEVICE_ID_CHARACTERS_MAX
        if not fits:
            raise InvalidRequest(f"A device id has 1 to {devices.DEVICE_ID_CHARACTERS_MAX} characters.")
        devices.check(DeviceSent(id=new.device_id))
    return new


def mint(tx: Transaction, ring: KeyRing, app_id: str, new: NewToken, now: int) -> Minted:
    """Makes a token for a user.

    Raises NotFound for who does not live here, InvalidRequest for demo users and for what `check` refuses
    (doors ask it first), Conflict above LIVE_PER_USER_MAX tokens that could be used.
    """
    check(new)
    # The lock keeps a deletion out, which would leave the token behind.
    user = users.by_uid(tx, [(app_id, new.uid)], lock=True).get((app_id, new.uid))
    if user is None:
        raise NotFound("There is no such user in this app.", code="user_not_found")
    if user.type == "demo":
        raise InvalidRequest("Anybody may be a demo user: no token is needed, nor made.")
    if tx.execute(COUNT_LIVE, {"app": app_id, "uid": new.uid, "now": now}).scalar_one() >= LIVE_PER_USER_MAX:
        raise Conflict(
            f"This user has {LIVE_PER_USER_MAX} enrollment tokens that can be used. Revoke some first.",
            code="too_many_enrollment_tokens",
        )
    token = clock.new_secret(TOKEN_PREFIX)
    about = EnrollmentToken(
        app_id=app_id,
        token_id=clock.new_id("ent"),
        uid=new.uid,
        device_id=new.device_id,
        uses_max=new.uses_max,
        uses=0,
        created_at=now,
        expires_at=now + new.seconds * 1_000,
        revoked_at=None,
        client_id=new.maker.client_id,
        client_since=new.maker.client_since,
        operator_token_id=new.maker.operator_token_id,
    )
    tx.execute(ADD, {**msgspec.structs.asdict(about), "digest": ring.digest(_PURPOSE, token)})
    return Minted(token, about)


def of_user(
    tx: Transaction,
    app_id: str,
    uid: str,
    *,
    now: int,
    before: str | None = None,
    limit: int = PAGE_ROWS_MAX,
) -> list[EnrollmentToken]:
    """The tokens of a user, newest first, from behind the token_id `before`; PAGE_ROWS_MAX at most."""
    where = {"app": app_id, "uid": uid, "now": now, "before": BEHIND_ALL if before is None else before}
    rows = tx.execute(PAGE_OF_USER, where | {"limit": min(limit, PAGE_ROWS_MAX)})
    return [_token_of(row) for row in rows]


def revoke(tx: Transaction, app_id: str, uid: str, token_id: str, now: int) -> bool:
    """Ends a token of a user at once, and may come twice. False: there is none of this id.

    Sessions that came of it go on. Who is enrolling by it holds the lock on the user, which is waited for.
    """
    users.by_uid(tx, [(app_id, uid)], lock=True)
    this = {"app": app_id, "token": token_id, "whose": uid}
    if tx.execute(REVOKE, this | {"now": now}).rowcount == 1:
        return True
    return tx.execute(KNOWS, this).first() is not None


def digests_of(ring: KeyRing, token: str) -> tuple[str, ...]:
    """What `token` may be kept as, under every key of the ring; () for what cannot be one of ours."""
    return ring.digests(_PURPOSE, token) if _TOKEN.fullmatch(token) else ()


def examine(tx: Transaction, presented: Presented) -> Redeemable | Fault:
    """Whether a token opens for who presents it. It stays so while its user is locked.

    A key that has got a session by it may ask again for as long as the token lives and the session stands.
    """
    keys = [(presented.app_id, each) for each in presented.digests]
    row = next(iter(BY_DIGEST.rows(tx, keys, now=presented.now)), None)
    if row is None:
        return "unknown"
    token = _token_of(row)
    if (state := token.state(presented.now)) in ("revoked", "expired"):
        return "revoked" if state == "revoked" else "expired"
    if token.device_id is not None and token.device_id != presented.device_id:
        return "other_device"
    session = _session_of(tx, token, presented)
    return "used" if session is None and state == "used" else Redeemable(token, session)


def note_use(tx: Transaction, redeemable: Redeemable, presented: Presented, session_id: str) -> None:
    """Counts a use, which has led to a session. The user is locked."""
    token = redeemable.token
    tx.execute(COUNT_USE, {"app": token.app_id, "token": token.token_id})
    use = {
        "app_id": token.app_id,
        "token_id": token.token_id,
        "key_thumbprint": presented.key_thumbprint,
        "uid": token.uid,
        "session_id": session_id,
        "used_at": presented.now,
    }
    tx.execute(NOTE_USE, use)


def holder_of(tx: Transaction, token: EnrollmentToken) -> User | None:
    """The user for whom it was made; None where they are gone."""
    key = (token.app_id, token.uid)
    return users.by_uid(tx, [key]).get(key)


def prune(tx: Transaction, now: int, rows_max: int, *, kept_ms: int) -> int:
    """Forgets at most `rows_max` tokens that expired `kept_ms` ago, or uses of them; returns how many."""
    ended = {"before": now - kept_ms, "most": rows_max}
    uses = tx.execute(PRUNE_USES, ended).rowcount
    return uses if uses == rows_max else tx.execute(PRUNE_TOKENS, ended).rowcount


def _token_of(row: Sequence[Any]) -> EnrollmentToken:
    return EnrollmentToken(*row)


def _session_of(tx: Transaction, token: EnrollmentToken, presented: Presented) -> Session | None:
    """The session that this key has got by the token, if it is still enrolled, and under this key."""
    use = {"app": token.app_id, "token": token.token_id, "key": presented.key_thumbprint}
    session_id = tx.execute(SESSION_OF_USE, use).scalar_one_or_none()
    session = None if session_id is None else sessions.find(tx, token.app_id, session_id)
    if session is None or session.state != "ENROLLED" or session.refresh_until <= presented.now:
        return None
    return session if session.key_thumbprint == presented.key_thumbprint else None
