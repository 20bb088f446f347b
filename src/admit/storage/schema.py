"""What all tables share: one collection of them, and the column types that both databases keep alike.

Ids are text, times are UTC milliseconds, JSON is text. Each room declares its own tables.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def text(name: str, **options: Any) -> Column[str]:
    """A text column; never NULL unless `nullable=True` is given. Compared byte by byte on both databases."""
    return Column(
        name, Text().with_variant(Text(collation="C"), "postgresql"), **({"nullable": False} | options)
    )


def moment(name: str, **options: Any) -> Column[int]:
    """A time in UTC milliseconds; never NULL unless `nullable=True` is given."""
    return Column(name, BigInteger, **({"nullable": False} | options))


def number(name: str, **options: Any) -> Column[int]:
    """A whole number; never NULL unless `nullable=True` is given."""
    return Column(name, BigInteger, **({"nullable": False} | options))
