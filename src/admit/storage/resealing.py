"""Seals under the newest key of SECRET_KEY what a former one has sealed, so that one can be dropped."""

from collections.abc import Callable, Iterable

import structlog
from sqlalchemy import Column, Table, bindparam, func, select, update

from admit.storage.sealing import KeyRing, SealBroken
from admit.storage.transaction import Transaction

Place = Callable[..., str]

log = structlog.get_logger("admit.storage")


class Sealed:
    """A sealed column that lasts, and the place that each row, told by its key, was sealed for."""

    def __init__(self, table: Table, place: Place, *, column: str = "sealed") -> None:
        key: tuple[Column[str], ...] = tuple(table.primary_key.columns)
        sealed = table.c[column]
        self.place = place
        self.table = table
        self.column: Column[str] = sealed
        self.old_rows = (
            select(*key, sealed)
            .where(func.substr(sealed, 1, func.length(bindparam("mark"))) != bindparam("mark"))
            .order_by(*key)
            .limit(bindparam("most"))
        )
        self.reseal = (
            update(table)
            .where(*(each == bindparam(f"of_{each.name}") for each in key), sealed == bindparam("old"))
            .values({column: bindparam("new")})
        )


def reseal(tx: Transaction, ring: KeyRing, columns: Iterable[Sealed], *, rows_max: int) -> int:
    """Seals at most `rows_max` rows of each column anew; returns how many it were. 0: nothing is left.

    What no key opens stays as it is and is told in the log.
    """
    return sum(_reseal_column(tx, ring, each, rows_max) for each in columns)


def _reseal_column(tx: Transaction, ring: KeyRing, sealed: Sealed, rows_max: int) -> int:
    done = 0
    for row in tx.execute(sealed.old_rows, {"mark": ring.mark, "most": rows_max}).all():
        key, old = tuple(row)[:-1], row[-1]
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
