"""What an app keeps sealed: secrets of its hooks, the key of its opaque userIds, its mail server's URL."""

import base64

from sqlalchemy import bindparam, delete, insert, select, update

from admit import clock
from admit.accounts.tables import hook_secrets, id_keys, mail_servers
from admit.outbound.signing import new_secret
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

ID_KEY_BYTES = 32
OLD_HOOK_SECRET_MS = clock.DAY_MS

ADD_ID_KEY = insert(id_keys)
ID_KEY = select(id_keys.c.sealed).where(id_keys.c.app_id == bindparam("app"))
MAIL_SERVER = select(mail_servers.c.sealed).where(mail_servers.c.app_id == bindparam("app"))

ADD_HOOK_SECRET = insert(hook_secrets)
HOOK_SECRETS = (
    select(hook_secrets)
    .where(hook_secrets.c.app_id == bindparam("app"))
    .order_by(hook_secrets.c.ends_at.is_(None).desc(), hook_secrets.c.ends_at.desc())
)
FORGET_OLD_HOOK_SECRETS = delete(hook_secrets).where(
    hook_secrets.c.app_id == bindparam("app"), hook_secrets.c.ends_at.is_not(None)
)
END_HOOK_SECRET = (
    update(hook_secrets)
    .where(hook_secrets.c.app_id == bindparam("app"), hook_secrets.c.ends_at.is_(None))
    .values(ends_at=bindparam("at"))
)


def hook_secrets_in(tx: Transaction, ring: KeyRing, app_id: str) -> tuple[str, str, int]:
    """The present secret of an app's hooks, the one that it has replaced ("": none), and until when (ms)."""
    secrets = [
        (ring.unseal(each.sealed, place_of_hook_secret(app_id, each.secret_id)), each.ends_at)
        for each in tx.execute(HOOK_SECRETS, {"app": app_id})
    ]
    previous, until = secrets[1] if len(secrets) > 1 else ("", 0)
    return secrets[0][0], previous, until


def add_hook_secret(tx: Transaction, ring: KeyRing, app_id: str, now: int) -> str:
    """Makes a secret for an app's hooks and returns it."""
    secret, secret_id = new_secret(), clock.new_id("hks")
    sealed = ring.seal(secret, place_of_hook_secret(app_id, secret_id))
    row = {"app_id": app_id, "secret_id": secret_id, "sealed": sealed, "created_at": now, "ends_at": None}
    tx.execute(ADD_HOOK_SECRET, row)
    return secret


def replace_hook_secret(tx: Transaction, ring: KeyRing, app_id: str, now: int) -> str:
    """Makes a new secret and returns it. The former one signs too for OLD_HOOK_SECRET_MS."""
    tx.execute(FORGET_OLD_HOOK_SECRETS, {"app": app_id})
    tx.execute(END_HOOK_SECRET, {"app": app_id, "at": now + OLD_HOOK_SECRET_MS})
    return add_hook_secret(tx, ring, app_id, now)


def id_key_in(tx: Transaction, ring: KeyRing, app_id: str) -> str:
    """The key that opaque userIds of an app are made with; "" where userIds are emails."""
    sealed = tx.execute(ID_KEY, {"app": app_id}).scalar_one_or_none()
    return "" if sealed is None else ring.unseal(sealed, place_of_id_key(app_id))


def add_id_key(tx: Transaction, ring: KeyRing, app_id: str) -> None:
    """Makes the key of an app's opaque userIds, which never changes."""
    key = base64.urlsafe_b64encode(clock.random_bytes(ID_KEY_BYTES)).decode()
    tx.execute(ADD_ID_KEY, {"app_id": app_id, "sealed": ring.seal(key, place_of_id_key(app_id))})


def mail_server_in(tx: Transaction, ring: KeyRing, app_id: str) -> str:
    """The URL of an app's own mail server; "" where the installation's sends."""
    sealed = tx.execute(MAIL_SERVER, {"app": app_id}).scalar_one_or_none()
    return "" if sealed is None else ring.unseal(sealed, place_of_mail_server(app_id))


def place_of_id_key(app_id: str) -> str:
    """Where the id key of an app is sealed for."""
    return f"id_keys.sealed/{app_id}"


def place_of_mail_server(app_id: str) -> str:
    """Where the URL of an app's mail server is sealed for."""
    return f"mail_servers.sealed/{app_id}"


def place_of_hook_secret(app_id: str, secret_id: str) -> str:
    """Where a secret of hooks is sealed for."""
    return f"hook_secrets.sealed/{app_id}/{secret_id}"
