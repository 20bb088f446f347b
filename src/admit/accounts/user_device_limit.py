"""How many devices one user may have enrolled at once, where that is not as the app has it."""

from sqlalchemy import bindparam, update

from admit.accounts.tables import users
from admit.storage.transaction import Transaction

SET_LIMIT = (
    update(users)
    .where(users.c.app_id == bindparam("of_app"), users.c.uid == bindparam("of_uid"))
    .values(devices_max=bindparam("most"))
)


def set_limit(tx: Transaction, app_id: str, uid: str, devices_max: int | None) -> bool:
    """From the next login on, so many devices: 0 is any number, None as the app has it. False: no such user.

    Nobody is told, since nothing of it is in events, and who is enrolled stays so.
    """
    return tx.execute(SET_LIMIT, {"of_app": app_id, "of_uid": uid, "most": devices_max}).rowcount == 1
