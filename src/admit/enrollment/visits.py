"""Visits: signing in as somebody who lives here already, and never otherwise. No policy, no admission."""

from functools import partial

import msgspec
import structlog

from admit.accounts import facts, session_opening, users
from admit.accounts.apps import App
from admit.accounts.session_opening import NoSession, OpenSession
from admit.accounts.users import User
from admit.clock import DAY_MS, Clock
from admit.enrollment.admissions import CredentialGone, Login
from admit.enrollment.barred import Barred, refusal_of
from admit.errors import USER_NOT_REGISTERED, InvalidOtp, Refused
from admit.signin import one_time_codes
from admit.signin.email_code import WRONG_CODE
from admit.signin.one_time_codes import Spend
from admit.signin.proof import Visit
from admit.storage.database import Database
from admit.storage.transaction import Transaction

ACTING_MS = DAY_MS
"""How long an owner's session as somebody else can be refreshed."""

NO_DEMO_USER = "There is no demo user of this name here."
NO_SUCH_PERSON = "There is nobody of that address here to sign in as."

log = structlog.get_logger("admit.enrollment")


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A visit to `app` at `now`, whose session can be refreshed until `refresh_until` (UTC ms)."""

    app: App
    visit: Visit
    now: int
    refresh_until: int


class Nobody(msgspec.Struct, frozen=True):
    """Who was to be visited does not live here."""


async def let_in(db: Database, clock: Clock, app: App, visit: Visit, refresh_token_ms: int) -> Login:
    """Opens a session as a resident. Raises Refused, and InvalidOtp when the code was used up meanwhile."""
    now = clock()
    life_ms = refresh_token_ms if visit.actor is None else min(ACTING_MS, refresh_token_ms)
    arrival = Arrival(app=app, visit=visit, now=now, refresh_until=now + life_ms)
    match await db.write(partial(arrive, arrival=arrival)):
        case Login() as login:
            log.info("visit.begun", app_id=app.app_id, method=visit.method, uid=login.user.uid)
            return login
        case Nobody():
            sentence = NO_DEMO_USER if visit.method == "demo" else NO_SUCH_PERSON
            raise Refused(sentence, code=USER_NOT_REGISTERED)
        case Barred() as barred:
            raise refusal_of(barred)
        case CredentialGone():
            raise InvalidOtp(WRONG_CODE)


def arrive(tx: Transaction, arrival: Arrival) -> Login | Nobody | Barred | CredentialGone:
    """Spends the code, if one led here, opens the session, and records who acts."""
    code = _code_of(arrival)
    if code is not None and not one_time_codes.spend(tx, [code])[0]:
        return CredentialGone()
    user = _resident(tx, arrival)
    if user is None:
        return Nobody()
    (opened,) = session_opening.open_or_renew(tx, [_session_for(arrival, user)])
    if isinstance(opened, NoSession):
        return Nobody() if opened.reason == "deleted" else Barred(opened.reason)
    if code is not None:
        one_time_codes.complete(tx, [code])
    facts.record_start(tx, opened, arrival.visit.sign_in, arrival.now)
    return Login(user=opened.user, session=opened.session)


def _resident(tx: Transaction, arrival: Arrival) -> User | None:
    """Whom the visitor asks for. A demo visit leads to demo users only, and no other visit does."""
    visit, app_id = arrival.visit, arrival.app.app_id
    found = users.by_user_id(tx, [(app_id, user_id) for user_id in visit.user_ids])
    known = [found[app_id, user_id] for user_id in visit.user_ids if (app_id, user_id) in found]
    return next((user for user in known if (user.type == "demo") == (visit.method == "demo")), None)


def _session_for(arrival: Arrival, user: User) -> OpenSession:
    visit = arrival.visit
    return OpenSession(
        user=user,
        newcomer=False,
        settings=arrival.app.settings,
        public_key=visit.public_key,
        client_id=None,
        scopes=visit.scopes,
        refresh_until=arrival.refresh_until,
        now=arrival.now,
        actor=visit.actor,
    )


def _code_of(arrival: Arrival) -> Spend | None:
    visit = arrival.visit
    if visit.otp_id is None:
        return None
    return Spend(
        app_id=arrival.app.app_id,
        otp_id=visit.otp_id,
        thumbprint=visit.public_key.thumbprint,
        now=arrival.now,
    )
