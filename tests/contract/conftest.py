"""Fixtures of the contract tests."""

from tests.contract.served import (
    door,
    migrated_postgres,
    migrated_sqlite,
    served,
    served_postgres_url,
    served_sqlite_url,
    served_url,
)

__all__ = [
    "door",
    "migrated_postgres",
    "migrated_sqlite",
    "served",
    "served_postgres_url",
    "served_sqlite_url",
    "served_url",
]
