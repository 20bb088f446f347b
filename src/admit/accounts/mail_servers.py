"""An app's own mail server, instead of the installation's. Its URL holds a password: a sealed column."""

from sqlalchemy import bindparam, delete
from sqlalchemy.dialects.postgresql import insert

from admit.accounts.app_secrets import place_of_mail_server
from admit.accounts.apps import edit_settings, mark_changed
from admit.accounts.tables import mail_servers
from admit.errors import ConfigError, InvalidRequest
from admit.outbound.smtp import MailServer, mail_server
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

URL_CHARACTERS_MAX = 1_000
SCHEMES = ("smtp://", "smtps://")

_put = insert(mail_servers)
PUT_MAIL_SERVER = _put.on_conflict_do_update(
    index_elements=["app_id"],
    set_={"sealed": _put.excluded.sealed, "changed_at": _put.excluded.changed_at},
)
REMOVE_MAIL_SERVER = delete(mail_servers).where(mail_servers.c.app_id == bindparam("app"))


def parse_mail_server(url: str) -> MailServer:
    """The server of `url`. Raises InvalidRequest, which does not repeat the URL.

    Nothing but SMTP: a file, such as MAIL_URL may name, is the operator's of the machine to choose.
    """
    if len(url) > URL_CHARACTERS_MAX or not url.startswith(SCHEMES) or not url.isprintable():
        raise InvalidRequest("The mail server is a URL like smtp://user:password@mail.example.com:587.")
    try:
        return mail_server(url)
    except ConfigError as error:
        raise InvalidRequest(error.message.replace("MAIL_URL", "The URL").partition(" Example:")[0]) from None


def set_mail_server(tx: Transaction, ring: KeyRing, app_id: str, url: str, sender: str, now: int) -> None:
    """Sends the app's mails by the server of `url`, From `sender`. Raises NotFound, and InvalidRequest as
    `parse_mail_server` and `check_settings` do: doors ask them first."""
    parse_mail_server(url)
    edit_settings(tx, app_id, now, mail_sender=sender)
    sealed = ring.seal(url, place_of_mail_server(app_id))
    tx.execute(PUT_MAIL_SERVER, {"app_id": app_id, "sealed": sealed, "changed_at": now})


def remove_mail_server(tx: Transaction, app_id: str, now: int) -> bool:
    """Sends by the installation's own server again, From its own sender. False: there was none of the app's.

    Raises NotFound.
    """
    mark_changed(tx, app_id, now)
    removed = tx.execute(REMOVE_MAIL_SERVER, {"app": app_id}).rowcount == 1
    if removed:
        edit_settings(tx, app_id, now, mail_sender="")
    return removed
