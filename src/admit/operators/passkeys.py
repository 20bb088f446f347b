"""Passkeys of operators, as they are kept. Every function is a unit of work."""

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from admit import clock
from admit.errors import Conflict, NotFound
from admit.operators import people
from admit.operators.ceremonies import KnownPasskey, NewPasskey
from admit.operators.people import HOUSE
from admit.operators.tables import operator_passkeys, operators
from admit.storage.transaction import Transaction

PASSKEYS_MAX = 20

ADD_PASSKEY = insert(operator_passkeys)
LIST_PASSKEYS = (
    select(operator_passkeys)
    .where(operator_passkeys.c.operator_id == bindparam("operator"))
    .order_by(operator_passkeys.c.created_at, operator_passkeys.c.passkey_id)
)
FIND_PASSKEY = (
    select(operator_passkeys)
    .join(operators, operators.c.operator_id == operator_passkeys.c.operator_id)
    .where(
        operator_passkeys.c.credential_id == bindparam("credential"),
        operators.c.joined_at.is_not(None),
        operators.c.deactivated_at.is_(None),
    )
)
IS_KNOWN = select(operator_passkeys.c.passkey_id).where(
    operator_passkeys.c.credential_id == bindparam("credential")
)
NOTE_USE = (
    update(operator_passkeys)
    .where(
        operator_passkeys.c.passkey_id == bindparam("passkey"),
        operator_passkeys.c.sign_count == bindparam("former"),
    )
    .values(sign_count=bindparam("new_count"), used_at=bindparam("now"))
)
REMOVE_PASSKEY = delete(operator_passkeys).where(
    operator_passkeys.c.passkey_id == bindparam("passkey"),
    operator_passkeys.c.operator_id == bindparam("operator"),
)


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey, as its owner knows it."""

    passkey_id: str
    credential_id: str
    name: str
    created_at: int
    used_at: int | None


def add(tx: Transaction, operator_id: str, new: NewPasskey, name: str, now: int) -> str:
    """Keeps a passkey that was made, and returns its id. Raises Conflict."""
    if tx.execute(IS_KNOWN, {"credential": new.credential_id}).first() is not None:
        raise Conflict("This passkey is known already.", code="passkey_exists")
    if len(list_passkeys(tx, operator_id)) >= PASSKEYS_MAX:
        raise Conflict(
            f"There are {PASSKEYS_MAX} passkeys already. Remove one first.", code="too_many_passkeys"
        )
    passkey_id = clock.new_id("opk")
    tx.execute(
        ADD_PASSKEY,
        {
            "passkey_id": passkey_id,
            "operator_id": operator_id,
            "credential_id": new.credential_id,
            "public_key": new.public_key,
            "sign_count": new.sign_count,
            "name": name,
            "created_at": now,
            "used_at": None,
        },
    )
    return passkey_id


def list_passkeys(tx: Transaction, operator_id: str) -> list[Passkey]:
    """The passkeys of an operator, oldest first."""
    return [
        Passkey(**{name: getattr(row, name) for name in Passkey.__struct_fields__})
        for row in tx.execute(LIST_PASSKEYS, {"operator": operator_id})
    ]


def find(tx: Transaction, credential_id: str) -> KnownPasskey | None:
    """The passkey of an operator who may sign in, by its credential id."""
    row = tx.execute(FIND_PASSKEY, {"credential": credential_id}).one_or_none()
    if row is None:
        return None
    return KnownPasskey(**{name: getattr(row, name) for name in KnownPasskey.__struct_fields__})


def note_use(tx: Transaction, known: KnownPasskey, sign_count: int, now: int) -> bool:
    """Keeps the new count. False: the passkey is gone, or was used by somebody else meanwhile."""
    new = {"passkey": known.passkey_id, "former": known.sign_count, "new_count": sign_count, "now": now}
    return tx.execute(NOTE_USE, new).rowcount == 1


def remove(tx: Transaction, operator_id: str, passkey_id: str) -> None:
    """Forgets a passkey. Raises NotFound, and Conflict where its owner could not sign in any more."""
    tx.hold([HOUSE])
    operator = people.get(tx, operator_id)
    if operator.passkeys == 1 and not operator.has_password:
        raise Conflict("This is your only way to sign in. Set a password or add another passkey first.")
    removed = tx.execute(REMOVE_PASSKEY, {"passkey": passkey_id, "operator": operator_id})
    if removed.rowcount != 1:
        raise NotFound("There is no such passkey.")
