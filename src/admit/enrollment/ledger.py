"""The ledger: every decision that was made, newest first, and what rivals need to know of one."""

import msgspec
from sqlalchemy import bindparam, select, tuple_

from admit.enrollment.admissions import Again
from admit.enrollment.policy import Refuse
from admit.enrollment.tables import admissions
from admit.storage.transaction import Transaction

PAGE_ROWS_MAX = 500

OUTCOME = select(
    admissions.c.settled_at,
    admissions.c.lease_until,
    admissions.c.verdict,
    admissions.c.code,
    admissions.c.message,
    admissions.c.reason,
).where(admissions.c.app_id == bindparam("app"), admissions.c.admission_id == bindparam("admission"))


class LedgerRow(msgspec.Struct, frozen=True, rename="camel"):
    """One decision. Times are UTC milliseconds; `settled_at` is None while it is open.

    `claims`: JSON of what is kept of what a provider said; "" without one.
    """

    admission_id: str
    user_id: str
    method: str
    way_in: str
    claims: str
    policy: str
    policy_version: int
    input_digest: str
    opened_at: int
    settled_at: int | None
    verdict: str
    code: str
    message: str
    reason: str
    late: str
    attempts: int
    latency_ms: int
    uid: str | None


_COLUMNS = tuple(admissions.c[name] for name in LedgerRow.__struct_fields__)
_OLDER = tuple_(admissions.c.opened_at, admissions.c.admission_id) < tuple_(bindparam("at"), bindparam("id"))
_OF_PERSON = admissions.c.user_id == bindparam("person")
_BY_WAY = admissions.c.way_in == bindparam("way")
NEWEST = (
    select(*_COLUMNS)
    .where(admissions.c.app_id == bindparam("app"))
    .order_by(admissions.c.opened_at.desc(), admissions.c.admission_id.desc())
    .limit(bindparam("limit"))
)
OLDER = NEWEST.where(_OLDER)
NEWEST_OF_PERSON = NEWEST.where(_OF_PERSON)
OLDER_OF_PERSON = NEWEST.where(_OF_PERSON, _OLDER)
NEWEST_BY_WAY = NEWEST.where(_BY_WAY)
OLDER_BY_WAY = NEWEST.where(_BY_WAY, _OLDER)
# A person has few rows, a way in most of them: so no index of ways may be taken for this one.
_AMONG_THOSE = admissions.c.way_in.concat("") == bindparam("way")
NEWEST_OF_PERSON_BY_WAY = NEWEST.where(_OF_PERSON, _AMONG_THOSE)
OLDER_OF_PERSON_BY_WAY = NEWEST.where(_OF_PERSON, _AMONG_THOSE, _OLDER)


def outcome(tx: Transaction, app_id: str, admission_id: str) -> Refuse | Again | None:
    """How an admission ended for those who wait for it: refused, or (Again) worth entering anew.

    None while somebody is still deciding.
    """
    row = tx.execute(OUTCOME, {"app": app_id, "admission": admission_id}).first()
    if row is None or row.lease_until == 0:
        return Again()
    if row.settled_at is None:
        return None
    if row.verdict == "refused":
        return Refuse(code=row.code, message=row.message, reason=row.reason)
    return Again()


def ledger_page(
    tx: Transaction,
    app_id: str,
    before: tuple[int, str] | None,
    limit: int,
    *,
    user_id: str | None = None,
    way_in: str | None = None,
) -> list[LedgerRow]:
    """At most `limit` decisions, newest first, older than `before` (opened_at, admission_id).

    `user_id`: only those about one person. `way_in`: only those about who came that way.
    """
    newest, older = {
        (False, False): (NEWEST, OLDER),
        (True, False): (NEWEST_OF_PERSON, OLDER_OF_PERSON),
        (False, True): (NEWEST_BY_WAY, OLDER_BY_WAY),
        (True, True): (NEWEST_OF_PERSON_BY_WAY, OLDER_OF_PERSON_BY_WAY),
    }[user_id is not None, way_in is not None]
    asked = {"app": app_id, "limit": min(limit, PAGE_ROWS_MAX), "person": user_id, "way": way_in}
    if before is None:
        rows = tx.execute(newest, asked)
    else:
        rows = tx.execute(older, asked | {"at": before[0], "id": before[1]})
    return [LedgerRow(**row._mapping) for row in rows]
