"""Somebody leaves, or never came in: what they kept goes, and so does what a provider said of them."""

from sqlalchemy import bindparam, func, select, tuple_, update

from admit.accounts.user_deletion import SLICE_ROWS, delete_user
from admit.accounts.users import User
from admit.data import erasure
from admit.enrollment.tables import CLAIMS_OF_REFUSED, admissions
from admit.storage.database import Database
from admit.storage.transaction import Transaction

_WITH_CLAIMS = (
    (admissions.c.app_id == bindparam("app"))
    & (admissions.c.user_id == bindparam("person"))
    & (admissions.c.claims != "")
)
FORGET_SOME_CLAIMS = (
    update(admissions)
    .where(
        admissions.c.app_id == bindparam("app"),
        admissions.c.admission_id.in_(
            select(admissions.c.admission_id).where(_WITH_CLAIMS).limit(SLICE_ROWS)
        ),
    )
    .values(claims="")
)
COUNT_DECISIONS = select(func.count()).select_from(
    select(admissions.c.admission_id)
    .where(admissions.c.app_id == bindparam("app"), admissions.c.user_id == bindparam("person"))
    .limit(bindparam("most"))
    .subquery()
)
_KEY = tuple_(admissions.c.app_id, admissions.c.admission_id)
PRUNE_CLAIMS = (
    update(admissions)
    .where(
        _KEY.in_(
            select(admissions.c.app_id, admissions.c.admission_id)
            .where(CLAIMS_OF_REFUSED, admissions.c.settled_at <= bindparam("before"))
            .order_by(admissions.c.settled_at)
            .limit(bindparam("most"))
        )
    )
    .values(claims="")
)


async def delete_person(db: Database, app_id: str, user_id: str, now: int) -> bool:
    """Deletes a user with everything about them. False: there is no such user.

    The ledger goes on telling that the userId was decided about, how and when.
    """
    return await delete_user(db, app_id, user_id, now, elsewhere=erase)


def count_decisions(tx: Transaction, app_id: str, user_id: str, most: int) -> int:
    """How many decisions the ledger goes on telling; no more than `most` are counted."""
    return int(tx.execute(COUNT_DECISIONS, {"app": app_id, "person": user_id, "most": most}).scalar_one())


def erase(tx: Transaction, user: User) -> int:
    """Erases a slice of what they kept, and of the claims about them; returns the most rows of any kind."""
    kept = erasure.erase(tx, user.app_id, user.uid, SLICE_ROWS)
    return max(kept, forget_claims(tx, user.app_id, user.user_id))


def forget_claims(tx: Transaction, app_id: str, user_id: str) -> int:
    """Erases the claims in the ledger about a person, SLICE_ROWS at most; returns in how many rows."""
    return tx.execute(FORGET_SOME_CLAIMS, {"app": app_id, "person": user_id}).rowcount


def prune(tx: Transaction, now: int, rows_max: int, *, kept_ms: int) -> int:
    """Erases the claims of at most `rows_max` people who were refused `kept_ms` ago; returns of how many.

    They have no user that could be deleted. The ledger goes on telling that they were refused, and why.
    """
    return tx.execute(PRUNE_CLAIMS, {"before": now - kept_ms, "most": rows_max}).rowcount
