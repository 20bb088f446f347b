"""Where the sessions and links of an operator end all at once. Every function is a unit of work."""

from sqlalchemy import bindparam, delete, update

from admit.operators.tables import operator_links, operator_sessions
from admit.storage.transaction import Transaction

END_ALL = delete(operator_sessions).where(
    operator_sessions.c.operator_id == bindparam("operator"),
    operator_sessions.c.session_id != bindparam("keep"),
)
END_LINKS = (
    update(operator_links)
    .where(operator_links.c.operator_id == bindparam("operator"), operator_links.c.ended_at.is_(None))
    .values(ended_at=bindparam("now"))
)


def end_all(tx: Transaction, operator_id: str, *, keep: str | None = None) -> int:
    """Ends every session of an operator but `keep`; returns how many it were."""
    return tx.execute(END_ALL, {"operator": operator_id, "keep": keep or ""}).rowcount


def end_links(tx: Transaction, operator_id: str, now: int) -> None:
    """Ends every link of an operator that still opens."""
    tx.execute(END_LINKS, {"operator": operator_id, "now": now})
