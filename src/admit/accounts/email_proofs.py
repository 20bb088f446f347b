"""The owner of an email shows up for the first time, and somebody else may have been there before.

A user may have come to be without anybody having proven the address: written by a program or a file, or
vouched for by a backend that lets people type an address. Whoever has got in that way must not stay when
the owner comes: sessions that API clients have opened wait for their person to sign in anew, and enrollment
tokens that API clients have made are revoked. What an operator has granted stays.
"""

from functools import partial

from msgspec.structs import replace
from sqlalchemy import bindparam, select, update

from admit.accounts import facts, sessions, users
from admit.accounts.session_moves import hold_user, move
from admit.accounts.tables import enrollment_tokens
from admit.accounts.tables import sessions as sessions_table
from admit.accounts.tables import users as users_table
from admit.accounts.user_changes import FORGET_WORDS
from admit.accounts.users import User
from admit.events.catalog import UserUpdated
from admit.storage.database import Database
from admit.storage.transaction import Transaction

SLICE_SESSIONS = 500

SOME_OF_CLIENTS = (
    select(sessions_table.c.app_id, sessions_table.c.session_id)
    .where(
        sessions_table.c.app_id == bindparam("app"),
        sessions_table.c.uid == bindparam("uid"),
        sessions_table.c.state == "ENROLLED",
        sessions_table.c.client_id.is_not(None),
    )
    .order_by(sessions_table.c.created_at, sessions_table.c.session_id)
    .limit(SLICE_SESSIONS)
)
REVOKE_OF_CLIENTS = (
    update(enrollment_tokens)
    .where(
        enrollment_tokens.c.app_id == bindparam("app"),
        enrollment_tokens.c.uid == bindparam("whose"),
        enrollment_tokens.c.client_id.is_not(None),
        enrollment_tokens.c.revoked_at.is_(None),
    )
    .values(revoked_at=bindparam("now"))
)
MARK_VERIFIED = (
    update(users_table)
    .where(users_table.c.app_id == bindparam("app"), users_table.c.uid == bindparam("whose"))
    .values(email=bindparam("proven"), email_verified="yes", updated_at=bindparam("now"))
)


async def prove(db: Database, user: User, email: str, now: int) -> None:
    """Makes `email`, which is normalised, the proven one of `user`, after it has ended what others have got
    without a proof.

    Slice by slice, so that others pass; the mark comes last. Whoever was interrupted simply begins again.
    """
    unit = partial(prove_slice, app_id=user.app_id, uid=user.uid, email=email, now=now)
    while not await db.write(unit, patient=True):
        pass


def prove_slice(tx: Transaction, app_id: str, uid: str, email: str, now: int) -> bool:
    """Ends a slice of the sessions; where no more are left, marks the user. True: it is done.

    A user who is gone is left alone, and so is one whose email is proven by now.
    """
    user = hold_user(tx, app_id, uid)
    if user is None or user.email_verified:
        return True
    rows = tx.execute(SOME_OF_CLIENTS, {"app": app_id, "uid": uid}).all()
    held = sessions.hold(tx, [(row.app_id, row.session_id) for row in rows])
    move(tx, {(app_id, uid): user}, held, "LOCKED", "reauthenticate", now)
    if len(rows) == SLICE_SESSIONS:
        return False
    tx.execute(REVOKE_OF_CLIENTS, {"app": app_id, "whose": uid, "now": now})
    tx.execute(MARK_VERIFIED, {"app": app_id, "whose": uid, "proven": email, "now": now})
    if email != user.email:
        _tell_email(tx, replace(user, email=email, email_verified=True, updated_at=now), now)
    tx.signal("user", user.key)
    return True


def _tell_email(tx: Transaction, user: User, now: int) -> None:
    """The verified address has taken the place of one that somebody had told."""
    tx.execute(FORGET_WORDS, {"of_app": user.app_id, "of_uid": user.uid})
    users.add_words(tx, [user])
    facts.record(tx, user, UserUpdated(user=facts.person_of(user), changed=("email",)), now)
