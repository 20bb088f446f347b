"""The jobs of one person, the newest first, at a cost that does not grow with how many there are."""

from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy import bindparam, select, tuple_

from admit.jobs.links import Key
from admit.jobs.tables import jobs
from admit.storage.transaction import Transaction

SCANNED_MAX = 2_000

_OF_PERSON = (
    select(jobs.c.created_at, jobs.c.job_id, jobs.c.kind)
    .where(
        jobs.c.app_id == bindparam("app"),
        jobs.c.subject == bindparam("uid"),
        jobs.c.subject.is_not(None),
        tuple_(jobs.c.created_at, jobs.c.job_id) < tuple_(bindparam("moment"), bindparam("job")),
    )
    .order_by(jobs.c.created_at.desc(), jobs.c.job_id.desc())
)
_scanned = _OF_PERSON.limit(bindparam("scanned")).subquery()
NEWEST = (
    select(_scanned.c.created_at, _scanned.c.job_id, _scanned.c.kind)
    .where(_scanned.c.kind.in_(bindparam("kinds", expanding=True)))
    .order_by(_scanned.c.created_at.desc(), _scanned.c.job_id.desc())
    .limit(bindparam("limit"))
)
EDGE = _OF_PERSON.offset(bindparam("scanned") - 1).limit(1)


class Found(msgspec.Struct, frozen=True):
    """One job, and of which kind it is."""

    key: Key
    kind: str


class Walked(msgspec.Struct, frozen=True):
    """Jobs, the newest first. `edge`: where the walk stopped though there may be more behind it; None: it
    found as many as were asked for, or the end."""

    found: Sequence[Found]
    edge: Key | None


def walk(tx: Transaction, app_id: str, uid: str, kinds: Collection[str], before: Key, limit: int) -> Walked:
    """The jobs of a person before a key, `limit` at most, of these kinds."""
    which = {"app": app_id, "uid": uid, "moment": before[0], "job": before[1], "scanned": SCANNED_MAX}
    rows = tx.execute(NEWEST, which | {"kinds": sorted(kinds), "limit": limit})
    found = [Found((row.created_at, row.job_id), row.kind) for row in rows]
    if len(found) == limit:
        return Walked(found, None)
    edge = tx.execute(EDGE, which).one_or_none()
    return Walked(found, None if edge is None else (edge.created_at, edge.job_id))
