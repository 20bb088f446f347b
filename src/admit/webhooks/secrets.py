"""The secrets that sign what an endpoint is sent: one that is present, and former ones until they end.

`whsec_` is shared with the receiver. Of `whsk_` the receiver has the public half, which is published.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal, assert_never

import msgspec
from sqlalchemy import bindparam, delete, insert, or_, select, update

from admit import clock
from admit.errors import InvalidRequest
from admit.outbound import signing
from admit.storage.lookups import Lookup
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from admit.webhooks.sealed import place_of_secret
from admit.webhooks.tables import endpoint_secrets

Kind = Literal["hmac", "ed25519"]

OVERLAP_SECONDS = 24 * 3_600
OVERLAP_SECONDS_MAX = 7 * 24 * 3_600
SECRETS_MAX = 5
SECRET_CHARACTERS_MAX = 200

ADD = insert(endpoint_secrets)
OF_ENDPOINTS = Lookup(select(endpoint_secrets), (endpoint_secrets.c.app_id, endpoint_secrets.c.endpoint_id))
_of_endpoint = (
    endpoint_secrets.c.app_id == bindparam("app"),
    endpoint_secrets.c.endpoint_id == bindparam("endpoint"),
)
END_BY = (
    update(endpoint_secrets)
    .where(
        *_of_endpoint, or_(endpoint_secrets.c.ends_at.is_(None), endpoint_secrets.c.ends_at > bindparam("at"))
    )
    .values(ends_at=bindparam("at"))
)
FORGET_ENDED = delete(endpoint_secrets).where(*_of_endpoint, endpoint_secrets.c.ends_at <= bindparam("now"))
FORGET_ONE = delete(endpoint_secrets).where(
    *_of_endpoint, endpoint_secrets.c.secret_id == bindparam("secret")
)
FORGET_ALL = delete(endpoint_secrets).where(*_of_endpoint)


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """One secret. `ends_at` None: it is the present one."""

    secret_id: str
    text: str
    created_at: int
    ends_at: int | None

    @property
    def kind(self) -> Kind:
        """How it signs."""
        return kind_of(self.text)

    @property
    def public_key(self) -> str | None:
        """`whpk_…`, which verifies what it signs; None where the receiver needs the secret itself."""
        return signing.public_key_of(self.text) if self.kind == "ed25519" else None

    def signs_at(self, now: int) -> bool:
        """Whether requests at `now` are signed with it."""
        return self.ends_at is None or now < self.ends_at

    def __repr__(self) -> str:
        return f"Secret({self.secret_id!r})"


def kind_of(text: str) -> Kind:
    """How a secret signs."""
    return "ed25519" if text.startswith(signing.PRIVATE_PREFIX) else "hmac"


def new_secret(kind: Kind) -> str:
    """A secret that nobody has had before."""
    match kind:
        case "hmac":
            return signing.new_secret()
        case "ed25519":
            return signing.new_private_key()
        case _:
            assert_never(kind)


def parse_secret(text: str) -> str:
    """`text` where requests can be signed with it: an operator's own secret. Raises InvalidRequest."""
    own = text.startswith((signing.PREFIX, signing.PRIVATE_PREFIX))
    try:
        if own and len(text) <= SECRET_CHARACTERS_MAX:
            signing.headers([text], "evt_x", 0, b"")
            return text
    except ValueError:
        pass
    # Without the value: it may be a secret somewhere else.
    raise InvalidRequest(
        f"The secret cannot sign. It is whsec_ and {signing.KEY_BYTES_MIN} to {signing.KEY_BYTES_MAX} bytes "
        "in base64, or whsk_ and an Ed25519 key, 64 bytes in base64.",
        code="secret_refused",
    )


def of_endpoints(
    tx: Transaction, ring: KeyRing, keys: Iterable[tuple[str, str]]
) -> Mapping[tuple[str, str], tuple[Secret, ...]]:
    """The secrets of endpoints, told by app_id and endpoint_id: the present one first, then the youngest."""
    found: defaultdict[tuple[str, str], list[Secret]] = defaultdict(list)
    for row in OF_ENDPOINTS.rows(tx, keys):
        text = ring.unseal(row.sealed, place_of_secret(row.app_id, row.endpoint_id, row.secret_id))
        secret = Secret(secret_id=row.secret_id, text=text, created_at=row.created_at, ends_at=row.ends_at)
        found[row.app_id, row.endpoint_id].append(secret)
    return {key: tuple(sorted(each, key=_age)) for key, each in found.items()}


def add(tx: Transaction, ring: KeyRing, app_id: str, endpoint_id: str, text: str, now: int) -> None:
    """Gives an endpoint that has none its secret."""
    secret_id = clock.new_id("eps")
    row = {
        "app_id": app_id,
        "endpoint_id": endpoint_id,
        "secret_id": secret_id,
        "sealed": ring.seal(text, place_of_secret(app_id, endpoint_id, secret_id)),
        "created_at": now,
        "ends_at": None,
    }
    tx.execute(ADD, row)


def rotate(
    tx: Transaction,
    ring: KeyRing,
    app_id: str,
    endpoint_id: str,
    text: str,
    *,
    overlap_seconds: int,
    now: int,
) -> None:
    """Makes `text` the present secret. No former one signs for longer than `overlap_seconds` from now.

    Those that were replaced before keep their end where it is sooner: whoever rotates again because an answer
    was lost must not take the only key from the receiver that it knows. Of more than SECRETS_MAX the oldest
    ends.
    """
    key = {"app": app_id, "endpoint": endpoint_id}
    tx.execute(END_BY, key | {"at": now + overlap_seconds * 1_000})
    tx.execute(FORGET_ENDED, key | {"now": now})
    former = of_endpoints(tx, ring, [(app_id, endpoint_id)]).get((app_id, endpoint_id), ())
    for secret in former[SECRETS_MAX - 1 :]:
        tx.execute(FORGET_ONE, key | {"secret": secret.secret_id})
    add(tx, ring, app_id, endpoint_id, text, now)


def forget(tx: Transaction, app_id: str, endpoint_id: str) -> None:
    """Forgets all secrets of an endpoint."""
    tx.execute(FORGET_ALL, {"app": app_id, "endpoint": endpoint_id})


def _age(secret: Secret) -> tuple[bool, int, str]:
    """The present one first, then the youngest: ids grow with the time, and times can be the same."""
    return secret.ends_at is not None, -secret.created_at, secret.secret_id
