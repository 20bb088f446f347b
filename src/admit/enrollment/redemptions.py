"""Redemptions: enrolling a device by a token that an operator made for somebody who lives here already.

No policy is asked, and nobody becomes a user by a token.
"""

from functools import partial

import msgspec
import structlog

from admit.accounts import enrollment_tokens, facts, session_opening, users
from admit.accounts.apps import App
from admit.accounts.enrollment_tokens import Fault, Redeemable
from admit.accounts.session_opening import NoSession, OpenSession
from admit.accounts.users import User
from admit.clock import Clock
from admit.enrollment.admissions import Login
from admit.enrollment.barred import Barred, barred_of, refusal_of
from admit.signin import enrollment_token
from admit.signin.enrollment_token import Ticket
from admit.storage.database import Database
from admit.storage.transaction import Transaction

log = structlog.get_logger("admit.enrollment")


class Redemption(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket at the door of `app` at `now`; its session can be refreshed until `refresh_until` (UTC ms)."""

    app: App
    ticket: Ticket
    now: int
    refresh_until: int


async def redeem(db: Database, clock: Clock, app: App, ticket: Ticket, refresh_token_ms: int) -> Login:
    """Spends the ticket and lets the device in, or repeats the answer to a key that has spent it before.

    Raises Refused where the person or the device may not come in, and then nothing is spent; and what
    `signin.enrollment_token.refusal_of` says of a token that has met its end meanwhile.
    """
    now = clock()
    redemption = Redemption(app=app, ticket=ticket, now=now, refresh_until=now + refresh_token_ms)
    match await db.write(partial(spend, redemption=redemption)):
        case Login() as login:
            log.info("enrollment_token.redeemed", app_id=app.app_id, uid=login.user.uid)
            return login
        case Barred() as barred:
            raise refusal_of(barred)
        case fault:
            log.warning("enrollment_token.refused", app_id=app.app_id, fault=fault)
            raise enrollment_token.refusal_of(fault)


def spend(tx: Transaction, redemption: Redemption) -> Login | Barred | Fault:
    """Looks at the token once more, opens the session, counts the use. All of it is committed, or nothing."""
    ticket, now = redemption.ticket, redemption.now
    presented = msgspec.structs.replace(ticket.presented, now=now)
    # Whoever holds the person decides about their tokens; a token has the same person for all its life.
    key = (ticket.user.app_id, ticket.user.uid)
    user = users.by_uid(tx, [key], lock=True).get(key)
    if user is None:
        return "unknown"
    found = enrollment_tokens.examine(tx, presented)
    if not isinstance(found, Redeemable):
        return found
    if (barred := barred_of(user)) is not None:
        return barred
    if found.session is not None:
        return Login(user=user, session=found.session)
    (opened,) = session_opening.open_or_renew(tx, [_session_for(redemption, user, found.token.client_id)])
    if isinstance(opened, NoSession):
        facts.record_refusal(tx, opened, ticket.sign_in, now)
        return "unknown" if opened.reason == "deleted" else Barred(opened.reason)
    enrollment_tokens.note_use(tx, found, presented, opened.session.session_id)
    facts.record_start(tx, opened, ticket.sign_in, now)
    return Login(user=opened.user, session=opened.session)


def _session_for(redemption: Redemption, user: User, client_id: str | None) -> OpenSession:
    ticket = redemption.ticket
    return OpenSession(
        user=user,
        newcomer=False,
        settings=redemption.app.settings,
        sent=ticket.device,
        public_key=ticket.public_key,
        client_id=client_id,
        scopes=ticket.scopes,
        refresh_until=redemption.refresh_until,
        now=redemption.now,
    )
