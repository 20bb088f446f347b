"""Moving sessions from one state to another: held with their users, written together, told one by one.

Whoever changes the state of a session holds its user first, as logins do, so that of two changes one comes
after the other.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace
from sqlalchemy import select

from admit.accounts import devices, facts, sessions, users
from admit.accounts.devices import Device
from admit.accounts.sessions import Reason, Session, State
from admit.accounts.tables import devices as devices_table
from admit.accounts.tables import sessions as sessions_table
from admit.accounts.users import Key, User
from admit.storage.lookups import Lookup
from admit.storage.rows import Change
from admit.storage.transaction import Transaction

DEVICES = Lookup(
    select(*devices.DEVICE_COLUMNS),
    (devices_table.c.app_id, devices_table.c.uid, devices_table.c.device_id),
)
MOVE = Change(
    sessions_table,
    (sessions_table.c.app_id, sessions_table.c.session_id),
    (sessions_table.c.state, sessions_table.c.reason, sessions_table.c.signed_out_at),
)


def hold_with_user(tx: Transaction, app_id: str, session_id: str) -> tuple[User, Session] | None:
    """The session and its user, who both stay as they are until the transaction ends; None: there is none."""
    session = sessions.find(tx, app_id, session_id)
    if session is None or (user := hold_user(tx, app_id, session.uid)) is None:
        return None
    held = sessions.hold(tx, [(app_id, session_id)])
    return (user, held[0]) if held else None


def hold_user(tx: Transaction, app_id: str, uid: str) -> User | None:
    """The user as they are, and stay until the transaction ends; None: there is none."""
    return users.by_uid(tx, [(app_id, uid)], lock=True).get((app_id, uid))


def move_one(
    tx: Transaction, user: User, session: Session, state: State, reason: Reason, now: int
) -> Session:
    """Like `move`, for one session."""
    (moved,) = move(tx, {owner_of(session): user}, [session], state, reason, now)
    return moved


def move(
    tx: Transaction,
    people: Mapping[Key, User],
    held: Sequence[Session],
    state: State,
    reason: Reason,
    now: int,
) -> list[Session]:
    """Writes the new state of sessions that are held, as are their users, and tells each of them."""
    moved = [_moved(session, state, reason, now) for session in held]
    tx.write(
        MOVE,
        [
            (session.app_id, session.session_id, session.state, session.reason, session.signed_out_at)
            for session in moved
        ],
    )
    on = _devices_of(tx, moved)
    for session in moved:
        facts.record_state(tx, people[owner_of(session)], on[_place(session)], session, now)
        tx.signal("session", session.key)
    return moved


def device_of(tx: Transaction, session: Session) -> Device:
    """The device of a session."""
    return _devices_of(tx, [session])[_place(session)]


def owner_of(session: Session) -> Key:
    """The app_id and the uid of whose session it is."""
    return session.app_id, session.uid


def _moved(session: Session, state: State, reason: Reason, now: int) -> Session:
    is_leaving = session.state == "ENROLLED" and state != "ENROLLED"
    signed_out_at = now if is_leaving else session.signed_out_at
    return replace(session, state=state, reason=reason, signed_out_at=signed_out_at)


def _devices_of(tx: Transaction, held: Sequence[Session]) -> dict[tuple[str, str, str], Device]:
    found = map(devices.device_of, DEVICES.rows(tx, map(_place, held)))
    return {(device.app_id, device.uid, device.device_id): device for device in found}


def _place(session: Session) -> tuple[str, str, str]:
    return session.app_id, session.uid, session.device_id
