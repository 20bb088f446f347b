"""Sign-in by a one-time code that is mailed: whoever can read the mailbox is its owner.

The odds. A code has 8 digits (the addon's prompt submits itself at the eighth), so a guess is right once in
10^8. A code bears 5 guesses, and a mailbox 50 wrong ones a day over all its codes, from wherever they come.
Networks where its owner has signed in have 25 of their own (known_networks.py), for who lives there. Whoever
tries every day for a year at one mailbox gets in with a probability of 50 * 365 / 10^8 = 0.02 %, half of it
from such a network.
Against all mailboxes at once, 10^8 / 5 = 20 million mails make one hit: 83 days at the app's 10,000 an hour.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, assert_never

import msgspec
import structlog

from admit.accounts.acting import may_act_for_others
from admit.accounts.apps import App
from admit.accounts.keys import PublicKey
from admit.clock import Clock, new_code, new_id
from admit.errors import (
    TOO_MANY_GUESSES,
    USER_NOT_ACCEPTED,
    InvalidOtp,
    InvalidRequest,
    Refused,
)
from admit.outbound.mail import Mail
from admit.signin import mail_job, one_time_codes, templates
from admit.signin.email_addresses import (
    Addressee,
    addressee_of,
    is_demo,
    mailbox_of,
    network_of,
    normalise_email,
)
from admit.signin.known_networks import Place, turns
from admit.signin.limits import Limits, refusal, take, wants
from admit.signin.one_time_codes import CODE_DIGITS, Guess, NewCode, Use
from admit.signin.one_time_codes import Spend as Spend
from admit.signin.one_time_codes import complete as complete
from admit.signin.one_time_codes import spend as spend
from admit.signin.proof import EMAIL_ISSUER, Intent, Proof, Visit, scopes_of_person, user_id_of_email
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

WRONG_CODE = "This code is not right or no longer valid. Type the newest code that was mailed to you."
TOO_MANY = "Too many wrong codes. Ask for a new one."
TOO_MANY_TODAY = "Too many wrong codes were typed for this address. Try again tomorrow."
TOO_MANY_MAILS = "Too many codes were asked for. Try again in {minutes} min."
DEMO_ADDRESS = "This is the address of a demo user, who has no mailbox. Sign in by the grant demo."
NOT_AN_OWNER = "Only an owner of this app may sign in as somebody else."
NO_KEY = "public_key is missing. Send the device's RSA key in PEM together with the code."

log = structlog.get_logger("admit.signin")

Hopeless = Callable[[App, str, Intent], Awaitable[Refused | None]]
"""Why the owner of an email address could not come in anyway; None: they might."""


class EmailCodes:
    """Mails codes and checks them. `limits` and `otp_seconds` are the installation's settings."""

    def __init__(self, db: Database, ring: KeyRing, clock: Clock, limits: Limits, otp_seconds: int) -> None:
        self._db = db
        self._ring = ring
        self._clock = clock
        self._limits = limits
        self._otp_seconds = otp_seconds

    async def start(
        self,
        app: App,
        email: str,
        intent: Intent,
        address: str,
        *,
        use: Use = "sign_in",
        hopeless: Hopeless | None = None,
    ) -> str:
        """Step 1: mails a code for `use` to `email` and returns the `otp_id` that step 2 names.

        `owner@example.com as person@example.com` mails the code to an owner of the app, and to nobody else.

        Nobody is looked up, so that the answer says nothing of who is known, or an owner. Only in an app that
        wants it (`refuse_hopeless_at_step_1`) `hopeless` is asked; what it says is raised instead of mailing.
        Raises InvalidRequest and RateLimited.
        """
        who = addressee_of(email) if use == "sign_in" else Addressee(normalise_email(email))
        if is_demo(who.email) or is_demo(who.acting_for):
            raise InvalidRequest(DEMO_ADDRESS)
        refused = None
        if use == "sign_in" and app.settings.refuse_hopeless_at_step_1:
            refused = await _hopeless(app, who, intent, hopeless, self._clock())
        now = self._clock()
        network = network_of(address)
        order = None if refused else self._order(app, who, intent, use, network, now)
        place = Place(app.app_id, mailbox_of(who.email), network)
        wait_seconds = await self._db.write(
            lambda tx: _start(tx, self._ring, place, self._limits, order, now)
        )
        if wait_seconds is not None:
            log.warning("email_code.limited", app_id=app.app_id, address=address, wait_seconds=wait_seconds)
            raise refusal(TOO_MANY_MAILS, wait_seconds)
        if refused is not None:
            log.info("email_code.hopeless", app_id=app.app_id, code=refused.code, address=address)
            raise refused
        assert order is not None
        log.info(
            "email_code.ordered",
            app_id=app.app_id,
            otp_id=order.code.otp_id,
            job_id=order.mail.job_id if order.mail else "",
            acting=bool(who.acting_for),
        )
        return order.code.otp_id

    async def check(
        self,
        app: App,
        *,
        otp_id: str,
        otp: str,
        email: str | None,
        public_key: PublicKey | None,
        scopes: Sequence[str],
        intent: Intent,
        address: str,
    ) -> Proof | Visit:
        """Step 2: the proof that whoever holds `public_key` has read the mail; a Visit of an owner who acts.

        `email` is None and `intent` "" where the request does not tell (magic links); what it tells must be
        what step 1 was told. The same code with the same key may come again, ten times, until a login has
        come of it. Raises InvalidOtp, and Refused (TOO_MANY_GUESSES, and for who is no owner any more).
        """
        granted = scopes_of_person(scopes)
        if public_key is None:
            raise InvalidRequest(NO_KEY)
        guess = Guess(
            app_id=app.app_id,
            otp_id=otp_id,
            otp=one_time_codes.digits_of(otp),
            addressee=None if email is None else addressee_of(email),
            intent=intent,
            thumbprint=public_key.thumbprint,
            network=network_of(address),
            now=self._clock(),
        )
        outcome = await self._try(guess)
        if outcome.kind != "right":
            raise _refusal_of(outcome.kind, app, address)
        log.info("email_code.right", app_id=app.app_id, otp_id=otp_id, address=address)
        who = outcome.addressee
        if who.acting_for:
            return self._acting(app, who, public_key, granted, otp_id, address)
        return Proof(
            method="email_code",
            issuer=EMAIL_ISSUER,
            subject=who.email,
            user_id=user_id_of_email(app, who.email),
            email=who.email,
            email_verified=True,
            intent=outcome.intent,
            public_key=public_key,
            scopes=granted,
            otp_id=otp_id,
            address=address,
        )

    async def connect(self, app: App, *, otp_id: str, otp: str, email: str, address: str) -> str:
        """Step 2 for who manages the app: the address that is proven. The code is spent and done with it.

        Whether that address may manage anything is for the caller to ask. Raises as `check` does.
        """
        guess = Guess(
            app_id=app.app_id,
            otp_id=otp_id,
            otp=one_time_codes.digits_of(otp),
            addressee=Addressee(normalise_email(email)),
            intent="",
            thumbprint=new_id("con"),  # nobody has it twice, so nobody uses the code twice
            network=network_of(address),
            now=self._clock(),
            use="connect",
        )
        outcome = await self._try(guess)
        if outcome.kind != "right":
            raise _refusal_of(outcome.kind, app, address)
        log.info("email_code.connected", app_id=app.app_id, otp_id=otp_id, address=address)
        return outcome.addressee.email

    def _acting(
        self,
        app: App,
        who: Addressee,
        key: PublicKey,
        scopes: tuple[str, ...],
        otp_id: str,
        address: str,
    ) -> Visit:
        """The visit of an owner, who may have lost that right since the mail."""
        if not may_act_for_others(app, who.email, self._clock()):
            raise Refused(NOT_AN_OWNER, code=USER_NOT_ACCEPTED)
        return Visit(
            method="acting",
            user_ids=(user_id_of_email(app, who.acting_for),),
            actor=who.email,
            public_key=key,
            scopes=scopes,
            otp_id=otp_id,
            address=address,
        )

    async def _try(self, guess: Guess) -> one_time_codes.Outcome:
        if not one_time_codes.could_be_otp_id(guess.otp_id):
            return one_time_codes.WRONG
        unit = _guess_and_spend if guess.use == "connect" else one_time_codes.try_guess
        return await self._db.write(lambda tx: unit(tx, self._ring, guess, self._limits))

    def _order(self, app: App, who: Addressee, intent: Intent, use: Use, network: str, now: int) -> "_Order":
        """A new code and the mail that carries it, both ready to be kept.

        Without a mail for who is no owner and wants to be somebody else: nobody will know their code.
        """
        otp_id, otp = new_id("otp"), new_code(CODE_DIGITS)
        expires_at = now + self._otp_seconds * 1_000
        code = NewCode(
            app_id=app.app_id,
            otp_id=otp_id,
            email=who.email,
            acting_for=who.acting_for,
            intent=intent,
            network=network,
            code_digest=one_time_codes.digest_of(self._ring, app.app_id, otp_id, otp, use),
            created_at=now,
            expires_at=expires_at,
        )
        if who.acting_for and not may_act_for_others(app, who.email, now):
            return _Order(code, None)
        variables = templates.Variables(
            otp=otp,
            origin_name=app.name,
            email=who.email,
            minutes=max(1, self._otp_seconds // 60),
            acting_for=who.acting_for,
        )
        # What an owner's code is good for must be read before it is told to anybody: in our words, always.
        chosen = templates.ACTING if who.acting_for else app.settings.mail_templates
        if use == "connect":
            chosen = templates.CONNECTING
        words = templates.render(chosen, variables, app_id=app.app_id)
        mail = Mail(
            to=who.email,
            subject=words.subject,
            text=words.text,
            html=words.html,
            sender=app.settings.mail_sender,
            otp=otp,
        )
        return _Order(code, mail_job.seal(self._ring, app.app_id, mail, worthless_at=expires_at))


class _Order(msgspec.Struct, frozen=True):
    code: NewCode
    mail: mail_job.SealedMail | None


async def _hopeless(
    app: App, who: Addressee, intent: Intent, ask: Hopeless | None, now: int
) -> Refused | None:
    """Why there is no use in mailing a code to `who`."""
    if who.acting_for:
        allowed = may_act_for_others(app, who.email, now)
        return None if allowed else Refused(NOT_AN_OWNER, code=USER_NOT_ACCEPTED)
    return None if ask is None else await ask(app, who.email, intent)


def _start(
    tx: Transaction, ring: KeyRing, place: Place, limits: Limits, order: _Order | None, now: int
) -> int | None:
    """Returns the seconds to wait where a limit is reached. Who is refused without a mail counts too."""
    counted = turns(
        tx,
        ring,
        place,
        "mail-to",
        here=limits.mails_per_mailbox_and_network,
        everywhere=limits.mails_per_mailbox,
        now=now,
    )
    counted += wants(
        ("mail-by", place.network, limits.mails_per_address), ("mail-of", "app", limits.mails_per_app)
    )
    wait_seconds = take(tx, ring, place.app_id, counted, now)
    if wait_seconds is None and order is not None:
        one_time_codes.add(tx, order.code)
        if order.mail is not None:
            mail_job.post(tx, order.mail, now)
    return wait_seconds


def _guess_and_spend(tx: Transaction, ring: KeyRing, guess: Guess, limits: Limits) -> one_time_codes.Outcome:
    """For a code of which no session comes, whose unit would spend it."""
    outcome = one_time_codes.try_guess(tx, ring, guess, limits)
    if outcome.kind == "right":
        this = [Spend(app_id=guess.app_id, otp_id=guess.otp_id, thumbprint=guess.thumbprint, now=guess.now)]
        spend(tx, this)
    return outcome


def _refusal_of(
    kind: Literal["wrong", "too_many", "too_many_today"], app: App, address: str
) -> InvalidOtp | Refused:
    log.warning(f"email_code.{kind}", app_id=app.app_id, address=address)
    match kind:
        case "wrong":
            return InvalidOtp(WRONG_CODE)
        case "too_many":
            return Refused(TOO_MANY, code=TOO_MANY_GUESSES)
        case "too_many_today":
            return Refused(TOO_MANY_TODAY, code=TOO_MANY_GUESSES)
        case _:
            assert_never(kind)
