"""How sessions come to an end, apart from their time."""

from sqlalchemy import bindparam, select, update

from admit.accounts import facts
from admit.accounts.devices import DEVICE_COLUMNS, device_of
from admit.accounts.sessions import SESSION_COLUMNS, session_of
from admit.accounts.tables import devices, sessions, users
from admit.accounts.users import USER_COLUMNS, user_of
from admit.events.catalog import SessionEnded
from admit.storage.transaction import Transaction

# Zero rows: unknown, or ended before.
END = (
    update(sessions)
    .where(
        sessions.c.app_id == bindparam("app"),
        sessions.c.session_id == bindparam("session"),
        sessions.c.state == "ENROLLED",
    )
    .values(state="LOCKED", reason="logged_out", signed_out_at=bindparam("now"))
    .returning(*SESSION_COLUMNS)
)
WHOSE = (
    select(*USER_COLUMNS, *DEVICE_COLUMNS)
    .join_from(users, devices, (devices.c.app_id == users.c.app_id) & (devices.c.uid == users.c.uid))
    .where(
        users.c.app_id == bindparam("app"),
        users.c.uid == bindparam("uid"),
        devices.c.device_id == bindparam("device"),
    )
)


def end(tx: Transaction, app_id: str, session_id: str, now: int) -> bool:
    """Ends a session, which then cannot be refreshed. False: there is none that is ENROLLED."""
    row = tx.execute(END, {"app": app_id, "session": session_id, "now": now}).one_or_none()
    if row is None:
        return False
    session = session_of(row)
    whose = tx.execute(WHOSE, {"app": app_id, "uid": session.uid, "device": session.device_id}).one()
    user, device = user_of(whose), device_of(whose[len(USER_COLUMNS) :])
    data = SessionEnded(
        user=facts.person_of(user),
        device=facts.device_of(device),
        session=facts.session_of(session),
        reason="logged_out",
    )
    facts.record(tx, user, data, now)
    return True
