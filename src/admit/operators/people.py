"""Operators: invited, known by their email, given roles, sent away. There is always an owner who can sign in.

Every function is a unit of work. Whoever changes roles or standings holds the house first, so that two owners
cannot send each other away at the same moment.
"""

from collections.abc import Callable
from typing import get_args

import msgspec
from sqlalchemy import Row, bindparam, func, insert, or_, select, update

from admit import clock
from admit.errors import Conflict, InvalidRequest, NotFound
from admit.operators import sessions_ended
from admit.operators.roles import Role
from admit.operators.tables import operator_passkeys, operators
from admit.storage.transaction import Transaction

NAME_CHARACTERS_MAX = 100
OPERATORS_MAX = 1_000
HOUSE = "operators"
"""What is held while it is decided who may be whom."""

PASSKEYS = (
    select(func.count())
    .select_from(operator_passkeys)
    .where(operator_passkeys.c.operator_id == operators.c.operator_id)
    .scalar_subquery()
    .label("passkeys")
)
"""How many passkeys an operator has."""
_OPERATORS = select(operators, PASSKEYS)

ADD_OPERATOR = insert(operators)
LIST_OPERATORS = _OPERATORS.order_by(operators.c.email).limit(OPERATORS_MAX)
COUNT_OPERATORS = select(func.count()).select_from(operators)
FIND_OPERATOR = _OPERATORS.where(
    or_(operators.c.operator_id == bindparam("key"), operators.c.email == bindparam("key"))
)
COUNT_JOINED = select(func.count()).select_from(operators).where(operators.c.joined_at.is_not(None))
OTHER_OWNERS = (
    select(func.count())
    .select_from(operators)
    .where(
        operators.c.role == "owner",
        operators.c.joined_at.is_not(None),
        operators.c.deactivated_at.is_(None),
        operators.c.operator_id != bindparam("operator"),
    )
)
_THIS = operators.c.operator_id == bindparam("operator")
SET_ROLE = update(operators).where(_THIS).values(role=bindparam("new_role"))
JOIN = (
    update(operators)
    .where(_THIS)
    .values(name=bindparam("new_name"), joined_at=func.coalesce(operators.c.joined_at, bindparam("now")))
)
PASSWORD_OF = select(operators.c.operator_id, operators.c.password).where(
    operators.c.email == bindparam("email"),
    operators.c.joined_at.is_not(None),
    operators.c.deactivated_at.is_(None),
)
SET_PASSWORD = update(operators).where(_THIS).values(password=bindparam("digest"))
SET_NAME = update(operators).where(_THIS).values(name=bindparam("new_name"))
DEACTIVATE = update(operators).where(_THIS).values(deactivated_at=bindparam("now"))
REACTIVATE = update(operators).where(_THIS).values(deactivated_at=None)


Change = Callable[[Transaction], "Operator"]
"""A unit of work on one operator."""


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who runs the house. `joined_at` None: invited, and has not come yet."""

    operator_id: str
    email: str
    name: str
    role: Role
    has_password: bool
    passkeys: int
    created_at: int
    joined_at: int | None
    deactivated_at: int | None

    @property
    def active(self) -> bool:
        """Whether they may sign in."""
        return self.joined_at is not None and self.deactivated_at is None


def parse_role(text: str) -> Role:
    """Reads a role. Raises InvalidRequest."""
    role: Role
    for role in get_args(Role):
        if role == text:
            return role
    raise InvalidRequest(f"There are the roles {', '.join(get_args(Role))}.")


def parse_name(text: str) -> str:
    """Reads the name of a person or a thing of theirs: one line. Raises InvalidRequest."""
    name = text.strip()
    if not name or len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise InvalidRequest(f"A name is one line of 1 to {NAME_CHARACTERS_MAX} characters.")
    return name


def none_joined(tx: Transaction) -> bool:
    """Whether nobody has been set up yet."""
    return int(tx.execute(COUNT_JOINED).scalar_one()) == 0


def list_operators(tx: Transaction) -> list[Operator]:
    """All operators, also invited and deactivated ones, by their email."""
    return [operator_of(row) for row in tx.execute(LIST_OPERATORS)]


def find(tx: Transaction, key: str) -> Operator | None:
    """The operator of this id or normalised email."""
    row = tx.execute(FIND_OPERATOR, {"key": key}).one_or_none()
    return None if row is None else operator_of(row)


def get(tx: Transaction, key: str) -> Operator:
    """The operator of this id or normalised email. Raises NotFound."""
    operator = find(tx, key)
    if operator is None:
        raise NotFound("There is no such operator. See: admit operator list", code="operator_not_found")
    return operator


def add(tx: Transaction, email: str, role: Role, now: int, *, operator_id: str | None = None) -> Operator:
    """Adds an operator who has not come yet, by a normalised email. Raises Conflict."""
    tx.hold([HOUSE])
    if find(tx, email) is not None:
        raise Conflict(f"{email} is an operator already.", code="operator_exists")
    if int(tx.execute(COUNT_OPERATORS).scalar_one()) >= OPERATORS_MAX:
        raise Conflict(f"There are {OPERATORS_MAX} operators already.", code="too_many_operators")
    operator = Operator(
        operator_id=operator_id or clock.new_id("opr"),
        email=email,
        name=email.partition("@")[0],
        role=role,
        has_password=False,
        passkeys=0,
        created_at=now,
        joined_at=None,
        deactivated_at=None,
    )
    row = {name: getattr(operator, name) for name in operator.__struct_fields__}
    del row["has_password"], row["passkeys"]
    tx.execute(ADD_OPERATOR, {**row, "password": ""})
    return operator


def set_role(tx: Transaction, key: str, role: Role, *, keep_session: str | None = None) -> Operator:
    """Gives a role, and ends their sessions but `keep_session`. Raises NotFound and Conflict."""
    tx.hold([HOUSE])
    operator = get(tx, key)
    if operator.role == role:
        return operator
    if role != "owner":
        _require_another_owner(tx, operator)
    tx.execute(SET_ROLE, {"operator": operator.operator_id, "new_role": role})
    sessions_ended.end_all(tx, operator.operator_id, keep=keep_session)
    return msgspec.structs.replace(operator, role=role)


def first_owner(tx: Transaction, email: str, now: int, operator_id: str) -> Operator:
    """The first owner: added, or invited before and now made one."""
    invited = find(tx, email)
    if invited is None:
        return add(tx, email, "owner", now, operator_id=operator_id)
    tx.execute(SET_ROLE, {"operator": invited.operator_id, "new_role": "owner"})
    tx.execute(REACTIVATE, {"operator": invited.operator_id})  # else nobody could come in any more
    return msgspec.structs.replace(invited, role="owner", deactivated_at=None)


def join(tx: Transaction, operator_id: str, name: str, now: int) -> None:
    """Notes that an operator has come by their link, and what they are called."""
    tx.execute(JOIN, {"operator": operator_id, "new_name": name, "now": now})


def password_of(tx: Transaction, email: str) -> tuple[str, str]:
    """Id and digest of the operator who may sign in with this email by a password; else both are ""."""
    row = tx.execute(PASSWORD_OF, {"email": email}).one_or_none()
    return ("", "") if row is None or not row.password else (row.operator_id, row.password)


def set_password(tx: Transaction, operator_id: str, digest: str) -> None:
    """Keeps the digest of a new password; "": there is none any more."""
    tx.execute(SET_PASSWORD, {"operator": operator_id, "digest": digest})


def set_name(tx: Transaction, operator_id: str, name: str) -> None:
    """Gives a name, as `parse_name` reads it."""
    tx.execute(SET_NAME, {"operator": operator_id, "new_name": name})


def deactivate(tx: Transaction, key: str, now: int) -> Operator:
    """Lets an operator in no more; sessions and links end at once. Raises NotFound and Conflict."""
    tx.hold([HOUSE])
    operator = get(tx, key)
    if operator.deactivated_at is not None:
        return operator
    _require_another_owner(tx, operator)
    tx.execute(DEACTIVATE, {"operator": operator.operator_id, "now": now})
    sessions_ended.end_all(tx, operator.operator_id)
    sessions_ended.end_links(tx, operator.operator_id, now)
    return msgspec.structs.replace(operator, deactivated_at=now)


def reactivate(tx: Transaction, key: str) -> Operator:
    """Lets an operator in again, with the passkeys and the password of before. Raises NotFound."""
    tx.hold([HOUSE])
    operator = get(tx, key)
    tx.execute(REACTIVATE, {"operator": operator.operator_id})
    return msgspec.structs.replace(operator, deactivated_at=None)


def operator_of(row: Row[tuple[object, ...]]) -> Operator:
    """The operator of a row of `operators`, with the number of their `passkeys`."""
    return Operator(
        operator_id=row.operator_id,
        email=row.email,
        name=row.name,
        role=row.role,
        has_password=row.password != "",
        passkeys=row.passkeys,
        created_at=row.created_at,
        joined_at=row.joined_at,
        deactivated_at=row.deactivated_at,
    )


def _require_another_owner(tx: Transaction, operator: Operator) -> None:
    """Raises Conflict where `operator` is the only owner who can sign in."""
    if operator.role != "owner" or not operator.active:
        return
    if int(tx.execute(OTHER_OWNERS, {"operator": operator.operator_id}).scalar_one()) == 0:
        raise Conflict(
            f"{operator.email} is the last owner. Make somebody else an owner first.", code="last_owner"
        )
