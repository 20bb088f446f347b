"""Seals under the newest key of SECRET_KEY what a former one has sealed, so that one can be dropped."""

from collections.abc import Callable

import structlog
from sqlalchemy import Column, Table, bindparam, func, select, update

from admit.accounts.app_secrets import place_of_hook_secret, place_of_id_key, place_of_mail_server
from admit.accounts.signing_keys import place_of_signing_key
from admit.accounts.tables import hook_secrets, id_keys, mail_servers, signing_keys
from admit.storage.sealing import KeyRing, SealBroken
from admit.storage.transaction import Transaction

Place = Callable[..., str]

log = structlog.get_logger("admit.accounts")


class _Sealed:
    """A table with a column `sealed`, and the place that a row, told by its key, was sealed for."""

    def __init__(self, table: Table, place: Place) -> None:
        key: tuple[Column[str], ...] = tuple(table.primary_key.columns)
        sealed = table.c.sealed
        self.place = place
        self.table = table
        self.old_rows = (
            select(*key, sealed)
            .where(func.substr(sealed, 1, func.length(bindparam("mark"))) != bindparam("mark"))
            .order_by(*key)
            .limit(bindparam("most"))
        )
        self.reseal = (
            update(table)
            .where(*(column == bindparam(f"of_{column.name}") for column in key), sealed == bindparam("old"))
            .values(sealed=bindparam("new"))
        )


SEALED = (
    _Sealed(id_keys, place_of_id_key),
    _Sealed(hook_secrets, place_of_hook_secret),
    _Sealed(mail_servers, place_of_mail_server),
    _Sealed(signing_keys, place_of_signing_key),
)


def reseal(tx: Transaction, ring: KeyRing, *, rows_max: int) -> int:
    """Seals at most `rows_max` rows of each table anew; returns how many it were. 0: nothing is left.

    What no key opens stays as it is and is told in the log.
    """
    return sum(_reseal_table(tx, ring, each, rows_max) for each in SEALED)


def _reseal_table(tx: Transaction, ring: KeyRing, sealed: _Sealed, rows_max: int) -> int:
    done = 0
    for row in tx.execute(sealed.old_rows, {"mark": ring.mark, "most": rows_max}).all():
        key, old = tuple(row)[:-1], row.sealed
        try:
            plain = ring.unseal(old, sealed.place(*key))
        except SealBroken as error:
            log.error("sealed.cannot_be_opened", place=sealed.place(*key), code=error.code)
            continue
        named = {
            f"of_{column.name}": value for column, value in zip(sealed.table.primary_key, key, strict=True)
        }
        tx.execute(sealed.reseal, {**named, "old": old, "new": ring.seal(plain, sealed.place(*key))})
        done += 1
    return done
