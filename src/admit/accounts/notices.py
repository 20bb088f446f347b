"""Notices: what an operator wants everybody to read when they sign in, until it is taken back or over."""

from typing import Literal

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select

from admit import clock
from admit.accounts.apps import Notice, mark_changed
from admit.accounts.tables import notices
from admit.errors import Conflict, InvalidRequest
from admit.storage.transaction import Transaction

NOTICES_MAX = 10
MESSAGE_CHARACTERS_MAX = 500

ADD_NOTICE = insert(notices)
REMOVE_NOTICE = delete(notices).where(
    notices.c.app_id == bindparam("app"), notices.c.notice_id == bindparam("notice")
)
REMOVE_PAST = delete(notices).where(notices.c.app_id == bindparam("app"), notices.c.until <= bindparam("now"))
COUNT_NOTICES = select(func.count()).select_from(notices).where(notices.c.app_id == bindparam("app"))


def check_message(message: str) -> str:
    """`message` where it may be shown. Raises InvalidRequest.

    The addon puts parameters in the place of words in braces, and "undefined" where there are none.
    """
    message = message.strip()
    if not 0 < len(message) <= MESSAGE_CHARACTERS_MAX or not message.isprintable():
        raise InvalidRequest(f"A notice is one line of 1 to {MESSAGE_CHARACTERS_MAX} characters.")
    if "{" in message or "}" in message:
        raise InvalidRequest("A notice has no braces: clients would put something else in their place.")
    return message


def add_notice(
    tx: Transaction, app_id: str, type: Literal["info", "warning"], message: str, until: int | None, now: int
) -> Notice:
    """Shows `message` at every sign-in until `until` (UTC ms; None: until it is removed).

    Notices that are over make room. Raises NotFound, Conflict above NOTICES_MAX, and InvalidRequest as
    `check_message` does: doors ask it first.
    """
    notice = Notice(clock.new_id("ntc"), type, check_message(message), now, until)
    mark_changed(tx, app_id, now)
    tx.execute(REMOVE_PAST, {"app": app_id, "now": now})
    if tx.execute(COUNT_NOTICES, {"app": app_id}).scalar_one() >= NOTICES_MAX:
        raise Conflict(f"An app has at most {NOTICES_MAX} notices. Remove one first.")
    tx.execute(ADD_NOTICE, {"app_id": app_id, **msgspec.structs.asdict(notice)})
    return notice


def remove_notice(tx: Transaction, app_id: str, notice_id: str, now: int) -> bool:
    """Takes a notice back. False: there is none of this id. Raises NotFound."""
    mark_changed(tx, app_id, now)
    return tx.execute(REMOVE_NOTICE, {"app": app_id, "notice": notice_id}).rowcount == 1
