"""How often something may be done: durable counts in fixed windows, exact across processes.

What is counted is kept as a keyed digest only, so that the table says nothing about anyone.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT reads the same on SQLite

from admit.errors import RateLimited
from admit.signin.tables import limits
from admit.storage.lookups import Lookup
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

BUCKET_PURPOSE = "limit-bucket"

_ROW = (
    (limits.c.app_id == bindparam("app"))
    & (limits.c.bucket == bindparam("what"))
    & (limits.c.window_end == bindparam("end"))
)
COUNT_ONE_MORE = (
    insert(limits)
    .values(app_id=bindparam("app"), bucket=bindparam("what"), window_end=bindparam("end"), count=1)
    .on_conflict_do_update(
        index_elements=[limits.c.app_id, limits.c.bucket, limits.c.window_end],
        set_={"count": limits.c.count + 1},
        where=limits.c.count < bindparam("most"),
    )
    .returning(limits.c.count)
)
COUNT_MORE = (
    insert(limits)
    .values(
        app_id=bindparam("app"),
        bucket=bindparam("what"),
        window_end=bindparam("end"),
        count=bindparam("more"),
    )
    .on_conflict_do_update(
        index_elements=[limits.c.app_id, limits.c.bucket, limits.c.window_end],
        set_={"count": limits.c.count + bindparam("more")},
    )
    .returning(limits.c.count)
)
COUNTS = Lookup(
    select(limits.c.app_id, limits.c.bucket, limits.c.window_end, limits.c.count),
    (limits.c.app_id, limits.c.bucket),
)
COUNT_ONE_LESS = update(limits).where(_ROW, limits.c.count > 0).values(count=limits.c.count - 1)
_KEY = tuple_(limits.c.app_id, limits.c.bucket, limits.c.window_end)
PRUNE_WINDOWS = delete(limits).where(
    _KEY.in_(
        select(limits.c.app_id, limits.c.bucket, limits.c.window_end)
        .where(limits.c.window_end <= bindparam("now"))
        .limit(bindparam("most"))
    )
)


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `count` within each window of `window_seconds`."""

    count: int
    window_seconds: int

    def __post_init__(self) -> None:
        if self.count < 1 or self.window_seconds < 1:
            raise ValueError("a limit needs a count and a window_seconds of at least 1")


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every limit there is; None lifts one. Those from `tokens_per_user` on are the contract's.

    A RATE_LIMITS file holds tables of these names. TOML has no null: a large count lifts a limit there.
    """

    mails_per_mailbox: Limit | None = Limit(20, 3_600)
    mails_per_mailbox_and_network: Limit | None = Limit(10, 3_600)
    mails_per_address: Limit | None = Limit(200, 3_600)
    mails_per_app: Limit | None = Limit(10_000, 3_600)
    wrong_guesses_per_mailbox: Limit | None = Limit(50, 86_400)
    wrong_guesses_per_mailbox_and_network: Limit | None = Limit(25, 86_400)
    demo_logins_per_address: Limit | None = Limit(200, 3_600)
    demo_logins_per_app: Limit | None = Limit(10_000, 3_600)
    wrong_enrollment_tokens_per_address: Limit | None = Limit(100, 3_600)
    sso_callbacks_per_address: Limit | None = Limit(300, 600)
    sso_callbacks_per_attempt: Limit | None = Limit(5, 600)
    wrong_operator_passwords_per_address: Limit | None = Limit(50, 3_600)
    wrong_operator_passwords_per_operator: Limit | None = Limit(100, 86_400)
    wrong_operator_passwords_per_operator_and_network: Limit | None = Limit(20, 3_600)
    operator_challenges_per_address: Limit | None = Limit(300, 3_600)
    tokens_per_user: Limit | None = Limit(100, 3_600)
    syncs_eval: Limit | None = Limit(50, 300)
    syncs_prod: Limit | None = Limit(200, 300)
    reads_eval: Limit | None = Limit(200, 900)
    reads_prod: Limit | None = Limit(200, 60)
    writes_eval: Limit | None = Limit(100, 900)
    writes_prod: Limit | None = Limit(100, 60)

    @classmethod
    def off(cls) -> "Limits":
        """No limits at all, for load tests. The five guesses of each code remain."""
        return cls(**dict.fromkeys(cls.__struct_fields__))


class More(msgspec.Struct, frozen=True):
    """`count` more in one row of a window."""

    row: dict[str, Any]
    count: int


class Want(msgspec.Struct, frozen=True):
    """One more of `what` (`name:value`), if `limit` allows."""

    what: str
    limit: Limit


def wants(*asked: tuple[str, str, Limit | None]) -> list[Want]:
    """One more of each `(name, value, limit)`. What is unknown ("") or has no limit is not counted."""
    return [Want(f"{name}:{value}", limit) for name, value, limit in asked if value and limit is not None]


def take(tx: Transaction, ring: KeyRing, app_id: str, counted: Sequence[Want], now: int) -> int | None:
    """Counts every one of `counted`, or none of them when one is over its limit.

    Returns None when all were counted, else the seconds after which it is worth trying again.
    """
    asked = [row_of(ring, app_id, want, now) | {"most": want.limit.count} for want in counted]
    if len(asked) > 1 and (over_until := _over_until(tx, asked)):
        return _seconds_until(over_until, now)
    over_until = 0
    taken = []
    for row in asked:
        if tx.execute(COUNT_ONE_MORE, row).first() is None:
            over_until = max(over_until, row["end"])
        else:
            taken.append(row)
    if not over_until:
        return None
    for row in taken:
        tx.execute(COUNT_ONE_LESS, row)
    return _seconds_until(over_until, now)


def refusal(sentence: str, wait_seconds: int) -> RateLimited:
    """What to raise where `take` says to wait; `sentence` has a place for the {minutes}."""
    told = sentence.format(minutes=(wait_seconds + 59) // 60)
    return RateLimited(told, retry_after_seconds=wait_seconds)


def give_back(tx: Transaction, ring: KeyRing, app_id: str, counted: Sequence[Want], now: int) -> None:
    """Undoes a `take` of the same transaction."""
    for want in counted:
        tx.execute(COUNT_ONE_LESS, row_of(ring, app_id, want, now))


def count_more(tx: Transaction, items: Sequence[More]) -> list[int]:
    """Counts what has happened already, whatever the limit. Returns the new sums. In list form."""
    sums: dict[int, int] = {}
    # In the order of the rows, so that two processes do not wait for each other.
    for place in sorted(range(len(items)), key=lambda each: tuple(items[each].row.values())):
        more = items[place]
        sums[place] = tx.execute(COUNT_MORE, {**more.row, "more": more.count}).scalar_one()
    return [sums[place] for place in range(len(items))]


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Forgets at most `rows_max` windows that have ended; returns how many it were."""
    return tx.execute(PRUNE_WINDOWS, {"now": now, "most": rows_max}).rowcount


def _over_until(tx: Transaction, asked: Sequence[dict[str, Any]]) -> int:
    """When the last window ends whose limit is reached; 0 where none is.

    One look instead of counting forth and back: who is over a limit is refused cheaply, however often.
    """
    keys = [(row["app"], row["what"]) for row in asked]
    counts = {(each.bucket, each.window_end): each.count for each in COUNTS.rows(tx, keys)}
    return max(
        (row["end"] for row in asked if counts.get((row["what"], row["end"]), 0) >= row["most"]), default=0
    )


def _seconds_until(end: int, now: int) -> int:
    return (end - now + 999) // 1_000


def row_of(ring: KeyRing, app_id: str, want: Want, now: int) -> dict[str, Any]:
    """The window of `want` at `now`. Its length is in the bucket: windows of two lengths may end together."""
    length_ms = want.limit.window_seconds * 1_000
    return {
        "app": app_id,
        "what": ring.digest(BUCKET_PURPOSE, f"{app_id}/{want.limit.window_seconds}/{want.what}"),
        "end": (now // length_ms + 1) * length_ms,
    }
