"""A mail to try things out: the words of an app by its mail server, at once, or what is wrong with them."""

import msgspec
import structlog

from admit.accounts.app_settings import MailTemplates
from admit.accounts.apps import App
from admit.clock import Clock
from admit.outbound.mail import Mail, MailFailed
from admit.signin import templates
from admit.signin.app_mail import AppMailers
from admit.signin.email_addresses import mailbox_of, normalise_email
from admit.signin.limits import Limits, refusal, take, wants
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

SAMPLE_CODE = "12345678"
SAMPLE_MINUTES = 15
TOO_MANY = "Too many mails went to this address. Try again in {minutes} min."

log = structlog.get_logger("admit.signin")


class Sent(msgspec.Struct, frozen=True):
    """What came of a test mail: whether a mail server has taken it over, and if not, why, in a sentence."""

    sent: bool
    problem: str = ""


def sample(
    app: App,
    to: str,
    chosen: MailTemplates | None,
    data: templates.TestData = templates.TestData(),  # noqa: B008  (frozen)
) -> templates.Rendered:
    """The words that a mail to `to` would have, with a code that opens nothing. None: our own words.

    What `data` leaves open gets a sample value.
    """
    variables = templates.Variables(
        otp=data.otp or SAMPLE_CODE,
        origin_name=data.origin_name or app.name,
        email=data.email or to,
        minutes=data.minutes or SAMPLE_MINUTES,
    )
    return templates.render(chosen, variables, app_id=app.app_id)


class TestMails:
    """Sends test mails. They count like mails that carry a code; `sender` is the From of apps without one."""

    __test__ = False  # it is no test, whatever its name

    def __init__(
        self, db: Database, ring: KeyRing, clock: Clock, limits: Limits, mailers: AppMailers, sender: str
    ) -> None:
        self._db = db
        self._ring = ring
        self._clock = clock
        self._limits = limits
        self._mailers = mailers
        self._sender = sender

    async def send(
        self,
        app: App,
        to: str,
        chosen: MailTemplates | None,
        data: templates.TestData = templates.TestData(),  # noqa: B008  (frozen)
    ) -> Sent:
        """Sends the words of `chosen` to `to`, by the app's server. Raises InvalidRequest, RateLimited."""
        to = normalise_email(to)
        counted = wants(
            ("mail-to", mailbox_of(to), self._limits.mails_per_mailbox),
            ("mail-of", "app", self._limits.mails_per_app),
        )
        now = self._clock()
        wait_seconds = await self._db.write(lambda tx: take(tx, self._ring, app.app_id, counted, now))
        if wait_seconds is not None:
            raise refusal(TOO_MANY, wait_seconds)
        words = sample(app, to, chosen, data)
        mail = Mail(
            to=to,
            subject=words.subject,
            text=words.text,
            html=words.html,
            sender=app.settings.mail_sender or self._sender,
        )
        try:
            await (await self._mailers.mailer_of(app.app_id)).send(mail)
        except MailFailed as error:
            log.warning("mail.test_failed", app_id=app.app_id, cause=str(error))
            return Sent(sent=False, problem=str(error))
        log.info("mail.test_sent", app_id=app.app_id)
        return Sent(sent=True)
