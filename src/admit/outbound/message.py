"""One mail as the bytes that a mail server takes (RFC 5322). Pure.

Whatever a template or a stranger's address contains, the mail goes to one mailbox and has our headers only.
"""

import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime

import idna
import msgspec

from admit.clock import new_id

SUBJECT_CHARACTERS_MAX = 500
BODY_CHARACTERS_MAX = 200_000

# What stands outside of quotes in an address; quoted local parts are nobody's (RFC 5321 §4.1.2).
_LOCAL = re.compile(r"[^\s@\x00-\x20\x7f()<>\[\]:;,\\\"]{1,64}")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_WITH_NAME = re.compile(r"\"?(?P<name>[^<>\"]*?)\"?\s*<(?P<address>[^<>]*)>")
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Mail(msgspec.Struct, frozen=True):
    """A mail to one person. `sender` may be `Name <address>`; `otp` is for mailers that are read by tests.

    `message_id` stays the same when the mail is sent again, so that mailboxes can drop the second copy.
    """

    to: str
    subject: str
    text: str
    html: str
    sender: str
    otp: str = ""
    message_id: str = ""


class MailFailed(Exception):
    """The mail was not accepted, or perhaps not. `permanent`: this very mail will never be."""

    def __init__(self, detail: str, *, permanent: bool) -> None:
        super().__init__(detail)
        self.permanent = permanent


class Message(msgspec.Struct, frozen=True):
    """Envelope and content. `needs_utf8`: only a server with SMTPUTF8 (RFC 6531) can take it."""

    sender: str
    to: str
    content: bytes
    needs_utf8: bool


def compose(mail: Mail, now: int) -> Message:
    """The message that `mail` becomes. Raises MailFailed where it cannot become one."""
    sender = sender_of(mail.sender)
    to = _mailbox("", mail.to, "The address of the recipient")
    if not mail.text or len(mail.text) + len(mail.html) > BODY_CHARACTERS_MAX:
        raise MailFailed(
            f"The mail has no text, or more than {BODY_CHARACTERS_MAX} characters.", permanent=True
        )
    needs_utf8 = not (sender.addr_spec + to.addr_spec).isascii()
    message_id = (mail.message_id or new_id("mail")).replace("@", ".")
    message = EmailMessage(policy=(SMTPUTF8 if needs_utf8 else SMTP).clone(cte_type="7bit"))
    try:
        message["From"] = sender
        message["To"] = to
        message["Subject"] = _INVISIBLE.sub(" ", mail.subject).strip()[:SUBJECT_CHARACTERS_MAX]
        message["Date"] = format_datetime(datetime.fromtimestamp(now / 1_000, UTC))
        message["Message-ID"] = f"<{message_id}@{sender.domain}>"
        # RFC 3834 §5: nobody's holiday notice shall answer.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail.text)
        if mail.html:
            message.add_alternative(mail.html, subtype="html")
        content = message.as_bytes()
    except (ValueError, LookupError) as error:
        # UnicodeError is a ValueError: half characters out of a template.
        raise MailFailed(f"The mail cannot be written: {type(error).__name__}.", permanent=True) from error
    return Message(sender.addr_spec, to.addr_spec, content, needs_utf8)


def sender_of(text: str) -> Address:
    """The sender in `Name <address>` or in an address alone. Raises MailFailed."""
    named = _WITH_NAME.fullmatch(text.strip())
    if named is None:
        return _mailbox("", text.strip(), "The address of the sender")
    name = _INVISIBLE.sub(" ", named["name"]).strip()
    return _mailbox(name, named["address"], "The address of the sender")


def _mailbox(name: str, address: str, what: str) -> Address:
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except UnicodeError:
            domain = ""
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise MailFailed(f"{what} is not a mail address.", permanent=True)
    return Address(name, local, domain)
