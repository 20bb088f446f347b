"""Variables of an app that its tasks are given by name: set by operators, sealed, and never shown again."""

import re
from collections.abc import Mapping

import msgspec
from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from admit.errors import Conflict, InvalidRequest
from admit.storage.sealing import KeyRing, SealBroken
from admit.storage.transaction import Transaction
from admit.tasks.sealed import place_of_variable
from admit.tasks.tables import task_env

TOPIC = "tasks"
"""Of the signal that tasks or variables of an app, its key, have changed."""
NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
VALUE_CHARACTERS_MAX = 10_000
VARIABLES_MAX = 200

_put = insert(task_env)
PUT = _put.on_conflict_do_update(
    index_elements=["app_id", "name"],
    set_={"sealed": _put.excluded.sealed, "changed_at": _put.excluded.changed_at},
)
REMOVE = delete(task_env).where(
    task_env.c.app_id == bindparam("app"), task_env.c.name == bindparam("of_name")
)
OF_APP = select(task_env).where(task_env.c.app_id == bindparam("app")).order_by(task_env.c.name)
COUNT_OTHERS = (
    select(func.count())
    .select_from(task_env)
    .where(task_env.c.app_id == bindparam("app"), task_env.c.name != bindparam("of_name"))
)


class Variable(msgspec.Struct, frozen=True):
    """That there is a variable, and since when it has its value, which nobody is shown."""

    name: str
    changed_at: int


def check(name: str, value: str) -> None:
    """Raises InvalidRequest for a name or a value that no variable can have."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:80]!r} is not the name of a variable: capitals, digits and _, such as CRM_TOKEN, "
            "64 characters at most.",
            code="variable_refused",
        )
    # Without the value: it is a secret.
    if not 1 <= len(value) <= VALUE_CHARACTERS_MAX or "\x00" in value or not _is_text(value):
        raise InvalidRequest(
            f"The value of {name} is a text of 1 to {VALUE_CHARACTERS_MAX:,} characters, without NUL.",
            code="variable_refused",
        )


def put(tx: Transaction, ring: KeyRing, app_id: str, name: str, value: str, now: int) -> None:
    """Gives a variable its value. Raises InvalidRequest, and Conflict (too_many_variables)."""
    check(name, value)
    if tx.execute(COUNT_OTHERS, {"app": app_id, "of_name": name}).scalar_one() >= VARIABLES_MAX:
        raise Conflict(
            f"An app has at most {VARIABLES_MAX} variables. Remove one first.", code="too_many_variables"
        )
    sealed = ring.seal(value, place_of_variable(app_id, name))
    tx.execute(PUT, {"app_id": app_id, "name": name, "sealed": sealed, "changed_at": now})
    tx.signal(TOPIC, app_id)


def remove(tx: Transaction, app_id: str, name: str) -> bool:
    """Forgets a variable. False: there is none of this name."""
    removed = tx.execute(REMOVE, {"app": app_id, "of_name": name}).rowcount > 0
    if removed:
        tx.signal(TOPIC, app_id)
    return removed


def names(tx: Transaction, app_id: str) -> list[Variable]:
    """The variables of an app by name, without their values."""
    return [Variable(row.name, row.changed_at) for row in tx.execute(OF_APP, {"app": app_id})]


def values(tx: Transaction, ring: KeyRing, app_id: str) -> Mapping[str, str | SealBroken]:
    """The values by name; where no key opens one, why."""
    return {
        row.name: _opened(ring, app_id, row.name, row.sealed) for row in tx.execute(OF_APP, {"app": app_id})
    }


def _opened(ring: KeyRing, app_id: str, name: str, sealed: str) -> str | SealBroken:
    try:
        return ring.unseal(sealed, place_of_variable(app_id, name))
    except SealBroken as error:
        return error


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a character
        return False
    return True
