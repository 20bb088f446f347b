"""One-time links: one sets up the first owner, others let operators in who were invited or are locked out.

The token in a link is made from the link's id under the key ring, so that all processes of a first start can
print the same one, and the database alone opens nothing. Every function is a unit of work.
"""

import base64

import msgspec
from sqlalchemy import Row, bindparam, delete, insert, select, update

from admit import clock
from admit.clock import DAY_MS, MINUTE_MS
from admit.errors import Conflict, TokenOver
from admit.operators import people
from admit.operators.people import HOUSE, Operator
from admit.operators.sessions_ended import end_links
from admit.operators.tables import operator_links
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

LIFE_MS = DAY_MS
STARTED_TOGETHER_MS = MINUTE_MS
"""Processes that start within so long print the same link; a later start makes a new one."""
TOKEN_CHARACTERS_MAX = 100
FIRST_OWNER = ""
"""In place of an operator's id: nobody is there yet."""

OVER = (
    "This link has been used, has expired, or another one took its place. Whoever runs the server can make "
    "a new one: admit operator link EMAIL"
)
OVER_FIRST = (
    "This link has been used, has expired, or another one took its place. While there is no operator, the "
    "server prints a new one each time it starts; after that: admit operator link EMAIL"
)

ADD_LINK = insert(operator_links)
FIND_LINK = select(operator_links).where(
    operator_links.c.digest.in_(bindparam("digests", expanding=True)),
    operator_links.c.ended_at.is_(None),
    operator_links.c.expires_at > bindparam("now"),
)
NEWEST_FIRST_OWNER = (
    select(operator_links)
    .where(
        operator_links.c.operator_id == FIRST_OWNER,
        operator_links.c.ended_at.is_(None),
        operator_links.c.created_at > bindparam("since"),
    )
    .order_by(operator_links.c.created_at.desc())
    .limit(1)
)
SPEND_LINK = (
    update(operator_links)
    .where(operator_links.c.link_id == bindparam("link"), operator_links.c.ended_at.is_(None))
    .values(ended_at=bindparam("now"))
)
PRUNE_LINKS = delete(operator_links).where(
    operator_links.c.link_id.in_(
        select(operator_links.c.link_id)
        .where(operator_links.c.expires_at <= bindparam("now"))
        .limit(bindparam("most"))
    )
)

_TOKEN = "operator-link-token"  # noqa: S105
_DIGEST = "operator-link"


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A link that opens. `operator` None: it sets up the first owner."""

    link_id: str
    operator: Operator | None
    expires_at: int


class NewLink(msgspec.Struct, frozen=True):
    """A link right after its making. Whoever has `token` may come in as the operator."""

    token: str
    expires_at: int

    def __repr__(self) -> str:
        return f"NewLink(expires_at={self.expires_at})"


def for_first_owner(tx: Transaction, ring: KeyRing, now: int) -> NewLink | None:
    """A link that sets up the first owner, in place of former ones. None: somebody has been set up."""
    tx.hold([HOUSE])
    if not people.none_joined(tx):
        return None
    newest = tx.execute(NEWEST_FIRST_OWNER, {"since": now - STARTED_TOGETHER_MS}).one_or_none()
    if newest is not None:
        return NewLink(_token(ring, newest.link_id), newest.expires_at)
    return _make(tx, ring, FIRST_OWNER, now)


def for_operator(tx: Transaction, ring: KeyRing, operator: Operator, now: int) -> NewLink:
    """A link that lets `operator` in to set up a passkey or a password, in place of former ones.

    Raises Conflict for one who is deactivated.
    """
    tx.hold([HOUSE])
    if operator.deactivated_at is not None:
        raise Conflict(
            f"{operator.email} is deactivated. First: admit operator reactivate {operator.email}",
            code="operator_deactivated",
        )
    return _make(tx, ring, operator.operator_id, now)


def find(tx: Transaction, ring: KeyRing, token: str, now: int) -> Link:
    """The link with `token`. Raises TokenOver unless it still opens."""
    row = None
    if token.isascii() and len(token) <= TOKEN_CHARACTERS_MAX:
        row = tx.execute(FIND_LINK, {"digests": ring.digests(_DIGEST, token), "now": now}).one_or_none()
    if row is None:
        raise over(OVER_FIRST if people.none_joined(tx) else OVER)
    if row.operator_id == FIRST_OWNER:
        if not people.none_joined(tx):
            raise over(OVER)
        return _link(row, None)
    operator = people.get(tx, row.operator_id)
    if operator.deactivated_at is not None:
        raise over(OVER)
    return _link(row, operator)


def spend(tx: Transaction, ring: KeyRing, token: str, now: int) -> Link:
    """Uses the link with `token` up: of two at once, one does. Raises TokenOver."""
    tx.hold([HOUSE])
    link = find(tx, ring, token, now)
    if tx.execute(SPEND_LINK, {"link": link.link_id, "now": now}).rowcount != 1:
        raise over(OVER)
    return link


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Forgets at most `rows_max` links that have expired; returns how many it were."""
    return tx.execute(PRUNE_LINKS, {"now": now, "most": rows_max}).rowcount


def over(sentence: str) -> TokenOver:
    """What to raise for a link that opens no more."""
    return TokenOver(sentence, code="link_over")


def _make(tx: Transaction, ring: KeyRing, operator_id: str, now: int) -> NewLink:
    end_links(tx, operator_id, now)
    link_id = clock.new_id("opl")
    token = _token(ring, link_id)
    tx.execute(
        ADD_LINK,
        {
            "link_id": link_id,
            "digest": ring.digest(_DIGEST, token),
            "operator_id": operator_id,
            "created_at": now,
            "expires_at": now + LIFE_MS,
            "ended_at": None,
        },
    )
    return NewLink(token, now + LIFE_MS)


def _token(ring: KeyRing, link_id: str) -> str:
    return base64.urlsafe_b64encode(ring.mac(_TOKEN, link_id.encode())).rstrip(b"=").decode()


def _link(row: Row[tuple[object, ...]], operator: Operator | None) -> Link:
    return Link(link_id=row.link_id, operator=operator, expires_at=row.expires_at)
