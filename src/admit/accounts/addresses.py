"""Where an app is reached: its name below PUBLIC_URL, the names it bore before, and hosts of its own."""

import msgspec
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT reads the same on SQLite

from admit.accounts.app_settings import parse_app_name
from admit.accounts.apps import CLAIM_NAME, NameTaken, mark_changed
from admit.accounts.domains import parse_host_name
from admit.accounts.tables import apps, hosts, names
from admit.errors import Conflict, InvalidRequest
from admit.storage.transaction import Transaction

FORMER_NAMES_MAX = 20
HOSTS_MAX = 20
DEFAULT_PORTS = {"https": 443, "http": 80}

BEARER = select(names.c.app_id).where(names.c.name == bindparam("name"))
COUNT_NAMES = select(func.count()).select_from(names).where(names.c.app_id == bindparam("app"))
SET_NAME = update(apps).where(apps.c.app_id == bindparam("app")).values(name=bindparam("new_name"))
PRESENT_NAME = select(apps.c.name).where(apps.c.app_id == bindparam("app"))
RELEASE_NAME = delete(names).where(names.c.app_id == bindparam("app"), names.c.name == bindparam("former"))

ADD_HOST = insert(hosts).on_conflict_do_nothing().returning(hosts.c.host)
HOLDER = select(hosts.c.app_id).where(hosts.c.host == bindparam("host"))
COUNT_HOSTS = select(func.count()).select_from(hosts).where(hosts.c.app_id == bindparam("app"))
REMOVE_HOST = delete(hosts).where(hosts.c.app_id == bindparam("app"), hosts.c.host == bindparam("mapped"))


class HostTaken(msgspec.Struct, frozen=True):
    """Another app is at this host."""

    host: str


def parse_mapped_host(text: str) -> str:
    """The host `text`, with its port where it names one, in the spelling by which requests are compared.

    Raises InvalidRequest, also for patterns, for IP addresses, and for the default ports, which no browser
    sends.
    """
    written = text.strip()
    if "://" in written or "/" in written:
        raise InvalidRequest(f"{written[:80]!r} is more than a host. Write it like auth.example.com.")
    name, colon, digits = written.partition(":")
    host = parse_host_name(name)
    if host.rpartition(".")[2].isdigit():
        raise InvalidRequest("An IP address leads to the server itself. Map a host name.")
    if not colon:
        return host
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits[:6]) < 65_536):
        raise InvalidRequest(f"{digits[:20]!r} is not a port. Write a number from 1 to 65535.")
    if int(digits) in DEFAULT_PORTS.values():
        raise InvalidRequest(f"Leave the port {int(digits)} away: it is what https and http use anyway.")
    return f"{host}:{int(digits)}"


def rename_app(tx: Transaction, app_id: str, name: str, now: int) -> NameTaken | None:
    """Gives the app another name. It goes on answering to the former ones. Raises NotFound.

    Raises Conflict above FORMER_NAMES_MAX, and InvalidRequest as `parse_app_name` does: doors ask it first.
    """
    name = parse_app_name(name)
    _mark_moved(tx, app_id, now)
    claimed = tx.execute(CLAIM_NAME, {"name": name, "app_id": app_id, "since": now}).one_or_none()
    if claimed is None and tx.execute(BEARER, {"name": name}).scalar_one_or_none() != app_id:
        return NameTaken(name)
    if tx.execute(COUNT_NAMES, {"app": app_id}).scalar_one() > FORMER_NAMES_MAX + 1:
        raise Conflict(f"An app answers to at most {FORMER_NAMES_MAX} former names. Release one first.")
    tx.execute(SET_NAME, {"app": app_id, "new_name": name})
    return None


def release_name(tx: Transaction, app_id: str, name: str, now: int) -> bool:
    """Stops the app from answering to a former name, which any app may take then.

    False: it is none of its former names. Raises NotFound.
    """
    _mark_moved(tx, app_id, now)
    if tx.execute(PRESENT_NAME, {"app": app_id}).scalar_one() == name:
        return False
    return tx.execute(RELEASE_NAME, {"app": app_id, "former": name}).rowcount == 1


def add_host(tx: Transaction, app_id: str, host: str, now: int) -> bool | HostTaken:
    """Makes the root of `host` lead to the app. False: it did already. Raises NotFound.

    Raises Conflict above HOSTS_MAX, and InvalidRequest as `parse_mapped_host` does: doors ask it first.
    """
    host = parse_mapped_host(host)
    _mark_moved(tx, app_id, now)
    row = {"host": host, "app_id": app_id, "since": now}
    if tx.execute(ADD_HOST, row).one_or_none() is None:
        holder = tx.execute(HOLDER, {"host": host}).scalar_one_or_none()
        return False if holder == app_id else HostTaken(host)
    if tx.execute(COUNT_HOSTS, {"app": app_id}).scalar_one() > HOSTS_MAX:
        raise Conflict(f"An app has at most {HOSTS_MAX} hosts. Remove one first.")
    return True


def remove_host(tx: Transaction, app_id: str, host: str, now: int) -> bool:
    """Ends what `add_host` began. False: that host did not lead to the app. Raises NotFound."""
    host = parse_mapped_host(host)
    _mark_moved(tx, app_id, now)
    return tx.execute(REMOVE_HOST, {"app": app_id, "mapped": host}).rowcount == 1


def _mark_moved(tx: Transaction, app_id: str, now: int) -> None:
    """Tells every process that its list of addresses is old, not only its snapshot of the app."""
    mark_changed(tx, app_id, now)
    tx.signal("app", f"{app_id}/addresses")
