"""Sign-in by a one-time code that is mailed: whoever can read the mailbox is its owner.

The odds. A code has 8 digits (the addon's prompt submits itself at the eighth), so a guess is right once in
10^8. A code bears 5 guesses, and a mailbox 50 wrong ones a day over all its codes, from wherever they come.
Whoever tries every day for a year at one mailbox gets in with a probability of 50 * 365 / 10^8 = 0.02 %.
Against all mailboxes at once, 10^8 / 5 = 20 million mails make one hit: 83 days at the app's 10,000 an hour.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import assert_never

import msgspec
import structlog

from admit.accounts.apps import App
from admit.accounts.keys import PublicKey
from admit.clock import Clock, new_code, new_id
from admit.errors import TOO_MANY_GUESSES, InvalidOtp, InvalidRequest, RateLimited, Refused
from admit.outbound.mail import Mail
from admit.signin import mail_job, one_time_codes, templates
from admit.signin.email_addresses import is_demo, mailbox_of, network_of, normalise_email
from admit.signin.limits import Limits, Want, take, wants
from admit.signin.one_time_codes import CODE_DIGITS, Guess, NewCode
from admit.signin.one_time_codes import Spend as Spend
from admit.signin.one_time_codes import complete as complete
from admit.signin.one_time_codes import spend as spend
from admit.signin.proof import EMAIL_ISSUER, Intent, Proof, scopes_of_person, user_id_of_email
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

WRONG_CODE = "This code is not right or no longer valid. Type the newest code that was mailed to you."
TOO_MANY = "Too many wrong codes. Ask for a new one."
TOO_MANY_TODAY = "Too many wrong codes were typed for this address. Try again tomorrow."
TOO_MANY_MAILS = "Too many codes were asked for. Try again in {minutes} min."
DEMO_ADDRESS = "This is the address of a demo user. This app has no demo users."
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
        self, app: App, email: str, intent: Intent, address: str, *, hopeless: Hopeless | None = None
    ) -> str:
        """Step 1: mails a code to `email` and returns the `otp_id` that step 2 names.

        Nobody is looked up, so that the answer says nothing of who is known. Only in an app that wants it
        (`refuse_hopeless_at_step_1`) `hopeless` is asked, and what it says raised instead of mailing.
        Raises InvalidRequest and RateLimited.
        """
        email = normalise_email(email)
        if is_demo(email):
            raise InvalidRequest(DEMO_ADDRESS)
        refused = None
        if hopeless is not None and app.settings.refuse_hopeless_at_step_1:
            refused = await hopeless(app, email, intent)
        now = self._clock()
        order = None if refused else self._order(app, email, intent, now)
        counted = wants(
            ("mail-to", mailbox_of(email), self._limits.mails_per_mailbox),
            ("mail-by", network_of(address), self._limits.mails_per_address),
            ("mail-of", "app", self._limits.mails_per_app),
        )
        wait_seconds = await self._db.write(
            lambda tx: _start(tx, self._ring, app.app_id, counted, order, now)
        )
        if wait_seconds is not None:
            log.warning("email_code.limited", app_id=app.app_id, address=address, wait_seconds=wait_seconds)
            sentence = TOO_MANY_MAILS.format(minutes=(wait_seconds + 59) // 60)
            raise RateLimited(sentence, retry_after_seconds=wait_seconds)
        if refused is not None:
            log.info("email_code.hopeless", app_id=app.app_id, code=refused.code, address=address)
            raise refused
        assert order is not None
        log.info("email_code.ordered", app_id=app.app_id, otp_id=order.code.otp_id, job_id=order.mail.job_id)
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
    ) -> Proof:
        """Step 2: the proof that whoever holds `public_key` has read the mail.

        `email` is None and `intent` "" where the request does not tell (magic links); what it tells must be
        what step 1 was told. The same code with the same key may come again, ten times, until a login has
        come of it. Raises InvalidOtp, and Refused (TOO_MANY_GUESSES).
        """
        granted = scopes_of_person(scopes)
        if public_key is None:
            raise InvalidRequest(NO_KEY)
        guess = Guess(
            app_id=app.app_id,
            otp_id=otp_id,
            otp=one_time_codes.digits_of(otp),
            email=None if email is None else normalise_email(email),
            intent=intent,
            thumbprint=public_key.thumbprint,
            now=self._clock(),
        )
        outcome = await self._try(guess)
        match outcome.kind:
            case "right":
                log.info("email_code.right", app_id=app.app_id, otp_id=otp_id, address=address)
                return Proof(
                    method="email_code",
                    issuer=EMAIL_ISSUER,
                    subject=outcome.email,
                    user_id=user_id_of_email(app, self._ring, outcome.email),
                    email=outcome.email,
                    email_verified=True,
                    intent=outcome.intent,
                    public_key=public_key,
                    scopes=granted,
                    otp_id=otp_id,
                    address=address,
                )
            case "wrong":
                error: InvalidOtp | Refused = InvalidOtp(WRONG_CODE)
            case "too_many":
                error = Refused(TOO_MANY, code=TOO_MANY_GUESSES)
            case "too_many_today":
                error = Refused(TOO_MANY_TODAY, code=TOO_MANY_GUESSES)
            case _:
                assert_never(outcome.kind)
        log.warning(f"email_code.{outcome.kind}", app_id=app.app_id, address=address)
        raise error

    async def _try(self, guess: Guess) -> one_time_codes.Outcome:
        if not one_time_codes.could_be_otp_id(guess.otp_id):
            return one_time_codes.WRONG
        daily = self._limits.wrong_guesses_per_mailbox
        return await self._db.write(lambda tx: one_time_codes.try_guess(tx, self._ring, guess, daily))

    def _order(self, app: App, email: str, intent: Intent, now: int) -> "_Order":
        """A new code and the mail that carries it, both ready to be kept."""
        otp_id, otp = new_id("otp"), new_code(CODE_DIGITS)
        expires_at = now + self._otp_seconds * 1_000
        variables = templates.Variables(
            otp=otp, origin_name=app.name, email=email, minutes=max(1, self._otp_seconds // 60)
        )
        words = templates.render(app.settings.mail_templates, variables, app_id=app.app_id)
        mail = Mail(
            to=email,
            subject=words.subject,
            text=words.text,
            html=words.html,
            sender=app.settings.mail_sender,
            otp=otp,
        )
        code = NewCode(
            app_id=app.app_id,
            otp_id=otp_id,
            email=email,
            intent=intent,
            code_digest=one_time_codes.digest_of(self._ring, app.app_id, otp_id, otp),
            created_at=now,
            expires_at=expires_at,
        )
        return _Order(code, mail_job.seal(self._ring, app.app_id, mail, worthless_at=expires_at))


class _Order(msgspec.Struct, frozen=True):
    code: NewCode
    mail: mail_job.SealedMail


def _start(
    tx: Transaction, ring: KeyRing, app_id: str, counted: Sequence[Want], order: _Order | None, now: int
) -> int | None:
    """Returns the seconds to wait where a limit is reached. Who is refused without a mail counts too."""
    wait_seconds = take(tx, ring, app_id, counted, now)
    if wait_seconds is None and order is not None:
        one_time_codes.add(tx, order.code)
        mail_job.post(tx, order.mail, now)
    return wait_seconds
