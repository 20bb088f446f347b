"""The providers of an app at rest: the setting as JSON, the secret in a sealed column of its own."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert  # compiles for SQLite alike

from admit.accounts.providers import Provider
from admit.accounts.tables import providers
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

PROVIDERS = (
    select(providers.c.name, providers.c.setting, providers.c.sealed)
    .where(providers.c.app_id == bindparam("app"))
    .order_by(providers.c.created_at, providers.c.name)
)
COUNT = select(func.count()).select_from(providers).where(providers.c.app_id == bindparam("app"))
_put = insert(providers)
PUT = _put.on_conflict_do_update(
    index_elements=["app_id", "name"],
    set_={
        "setting": _put.excluded.setting,
        "sealed": _put.excluded.sealed,
        "changed_at": _put.excluded.changed_at,
    },
)
REMOVE = delete(providers).where(
    providers.c.app_id == bindparam("app"), providers.c.name == bindparam("its_name")
)


def providers_in(tx: Transaction, ring: KeyRing, app_id: str) -> Mapping[str, Provider]:
    """The providers of an app by name, in the order in which they were added."""
    found = {}
    for row in tx.execute(PROVIDERS, {"app": app_id}):
        setting = msgspec.json.decode(row.setting, type=Provider)
        secret = ring.unseal(row.sealed, place_of_provider(app_id, row.name))
        found[row.name] = replace(setting, client_secret=secret)
    return found


def put(tx: Transaction, ring: KeyRing, app_id: str, provider: Provider, now: int) -> None:
    """Keeps `provider`, also in the place of the one of its name.

    The caller has marked the app as changed, and asked `provider_rules`.
    """
    setting = msgspec.json.encode(replace(provider, client_secret="")).decode()
    row = {
        "app_id": app_id,
        "name": provider.name,
        "setting": setting,
        "sealed": ring.seal(provider.client_secret, place_of_provider(app_id, provider.name)),
        "created_at": now,
        "changed_at": now,
    }
    tx.execute(PUT, row)


def remove(tx: Transaction, app_id: str, name: str) -> bool:
    """Forgets the provider; identities of its people stay. False: there is none of that name."""
    return tx.execute(REMOVE, {"app": app_id, "its_name": name}).rowcount == 1


def count(tx: Transaction, app_id: str) -> int:
    """How many there are."""
    return int(tx.execute(COUNT, {"app": app_id}).scalar_one())


def place_of_provider(app_id: str, name: str) -> str:
    """Where the secret of a provider is sealed for."""
    return f"providers.sealed/{app_id}/{name}"
