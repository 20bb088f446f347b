"""Challenges: random, kept as a keyed digest, good once, for a few minutes, in the browser that asked.

Every function is a unit of work.
"""

from sqlalchemy import bindparam, delete, insert, select

from admit.clock import MINUTE_MS
from admit.operators.tables import operator_challenges
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

LIFE_MS = 5 * MINUTE_MS

ADD_CHALLENGE = insert(operator_challenges)
SPEND_CHALLENGE = (
    delete(operator_challenges)
    .where(
        operator_challenges.c.digest.in_(bindparam("digests", expanding=True)),
        operator_challenges.c.holder.in_(bindparam("holders", expanding=True)),
        operator_challenges.c.expires_at > bindparam("now"),
    )
    .returning(operator_challenges.c.details)
)
PRUNE_CHALLENGES = delete(operator_challenges).where(
    operator_challenges.c.digest.in_(
        select(operator_challenges.c.digest)
        .where(operator_challenges.c.expires_at <= bindparam("now"))
        .limit(bindparam("most"))
    )
)

_CHALLENGE = "operator-challenge"
_HOLDER = "operator-challenge-holder"


def add(tx: Transaction, ring: KeyRing, challenge: str, holder: str, details: str, now: int) -> None:
    """Keeps `challenge` for `holder`, which says what it is for and whose browser may answer it."""
    row = {
        "digest": ring.digest(_CHALLENGE, challenge),
        "holder": ring.digest(_HOLDER, holder),
        "details": details,
        "expires_at": now + LIFE_MS,
    }
    tx.execute(ADD_CHALLENGE, row)


def spend(tx: Transaction, ring: KeyRing, challenge: str, holder: str, now: int) -> str | None:
    """Uses `challenge` up and returns its details. None: there is none, it is over, or somebody else's."""
    wanted = {
        "digests": ring.digests(_CHALLENGE, challenge),
        "holders": ring.digests(_HOLDER, holder),
        "now": now,
    }
    found: str | None = tx.execute(SPEND_CHALLENGE, wanted).scalar_one_or_none()
    return found


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Forgets at most `rows_max` challenges that nobody has answered; returns how many it were."""
    return tx.execute(PRUNE_CHALLENGES, {"now": now, "most": rows_max}).rowcount
