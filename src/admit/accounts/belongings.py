"""What a person has in this room, counted as far as somebody wants to know."""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, Table, bindparam, func, select

from admit.accounts.tables import devices, enrollment_tokens, identities, sessions
from admit.storage.transaction import Transaction


class Belongings(msgspec.Struct, frozen=True):
    """How many of each."""

    devices: int
    sessions: int
    identities: int
    enrollment_tokens: int


def _count(table: Table, column: ColumnElement[Any]) -> Select[Any]:
    some = select(column).where(table.c.app_id == bindparam("app"), table.c.uid == bindparam("uid"))
    return select(func.count()).select_from(some.limit(bindparam("most")).subquery())


COUNT_DEVICES = _count(devices, devices.c.device_id)
COUNT_SESSIONS = _count(sessions, sessions.c.session_id)
COUNT_IDENTITIES = _count(identities, identities.c.subject)
COUNT_TOKENS = _count(enrollment_tokens, enrollment_tokens.c.token_id)


def count(tx: Transaction, app_id: str, uid: str, most: int) -> Belongings:
    """What somebody has; of each kind no more than `most` are counted."""
    which = {"app": app_id, "uid": uid, "most": most}
    statements = (COUNT_DEVICES, COUNT_SESSIONS, COUNT_IDENTITIES, COUNT_TOKENS)
    return Belongings(*(int(tx.execute(each, which).scalar_one()) for each in statements))
