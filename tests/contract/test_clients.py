"""API clients: created, rotated, revoked, and asked for their secret."""

import asyncio
import hmac
from functools import partial

import pytest

from admit.accounts import clients
from admit.accounts.apps import App, Client, create_app, load_app
from admit.accounts.clients import NewClient, check_secret
from admit.accounts.tables import clients as table
from admit.errors import Conflict, InvalidRequest, NotFound
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

NOW = 1_800_000_000_000


@pytest.fixture
async def app(database: Database, ring: KeyRing) -> App:
    app = await database.write(
        lambda tx: create_app(tx, ring, name="demo", owner="o@example.com", user_ids="email", now=NOW)
    )
    assert isinstance(app, App)
    return app


async def create(
    database: Database, ring: KeyRing, app: App, *scopes: str, owner: str | None = None
) -> NewClient:
    wanted = scopes or ("ACCESS_DB", "IMPERSONATE")
    return await database.write(lambda tx: clients.create_client(tx, ring, app.app_id, wanted, owner, NOW))


async def found(database: Database, ring: KeyRing, client_id: str) -> Client | None:
    app = await database.read(lambda tx: load_app(tx, ring, "demo"))
    assert app is not None
    return app.clients.get(client_id)


async def test_client_is_known_by_its_secret_and_by_nothing_else(
    database: Database, ring: KeyRing, app: App
) -> None:
    new = await create(database, ring, app, owner=" Boss@Example.com")

    client = await found(database, ring, new.client_id)

    assert client is not None
    assert client.owner == "boss@example.com"
    assert client.scopes == {"ACCESS_DB", "IMPERSONATE"}
    assert check_secret(ring, client, new.client_secret)
    for wrong in ("", new.client_secret[:-1], new.client_secret + "x", new.client_id, client.secret_digest):
        assert not check_secret(ring, client, wrong)


async def test_secret_is_nowhere_in_the_database_or_the_log(
    database: Database, ring: KeyRing, app: App
) -> None:
    new = await create(database, ring, app)
    rows = await database.read(lambda tx: tx.execute(table.select()).all())
    assert new.client_secret not in repr(rows)
    assert new.client_secret not in repr(new)


async def test_digest_copied_to_another_client_opens_nothing(
    database: Database, ring: KeyRing, app: App
) -> None:
    mine, other = await create(database, ring, app), await create(database, ring, app, "GLOBAL_READ")
    client, target = await found(database, ring, mine.client_id), await found(database, ring, other.client_id)
    assert client is not None
    assert target is not None
    moved = Client(
        client_id=target.client_id,
        secret_digest=client.secret_digest,
        scopes=target.scopes,
        owner=None,
        created_at=NOW,
        secret_changed_at=NOW,
    )
    assert not check_secret(ring, moved, mine.client_secret)


async def test_rotated_client_has_a_new_secret_at_once(database: Database, ring: KeyRing, app: App) -> None:
    old = await create(database, ring, app)

    new = await database.write(lambda tx: clients.rotate_client(tx, ring, app.app_id, old.client_id, NOW + 5))

    client = await found(database, ring, old.client_id)
    assert client is not None
    assert new is not None
    assert (new.client_id, new.scopes, client.secret_changed_at) == (old.client_id, old.scopes, NOW + 5)
    assert check_secret(ring, client, new.client_secret)
    assert not check_secret(ring, client, old.client_secret)


async def test_two_rotations_at_once_leave_one_secret(database: Database, ring: KeyRing, app: App) -> None:
    old = await create(database, ring, app)
    rotate = partial(clients.rotate_client, ring=ring, app_id=app.app_id, client_id=old.client_id, now=NOW)

    results = await asyncio.gather(database.write(rotate), database.write(rotate))

    client = await found(database, ring, old.client_id)
    assert [check_secret(ring, client, new.client_secret) for new in results if new].count(True) == 1


async def test_revoked_client_is_gone_and_stays_gone(database: Database, ring: KeyRing, app: App) -> None:
    new = await create(database, ring, app)
    revoke = partial(clients.revoke_client, app_id=app.app_id, client_id=new.client_id, now=NOW)

    assert [await database.write(revoke), await database.write(revoke)] == [True, False]
    assert await found(database, ring, new.client_id) is None
    assert (
        await database.write(lambda tx: clients.rotate_client(tx, ring, app.app_id, new.client_id, NOW))
        is None
    )


async def test_secrets_outlive_a_change_of_the_secret_key(
    database: Database, ring: KeyRing, app: App
) -> None:
    new = await create(database, ring, app)
    client = await found(database, ring, new.client_id)
    newer = KeyRing((b"a-newer-secret-key-0123456789012", *ring.keys))
    assert check_secret(newer, client, new.client_secret)
    assert not check_secret(KeyRing(newer.keys[:1]), client, new.client_secret)


async def test_unknown_client_is_compared_as_often_as_a_known_one(
    database: Database, ring: KeyRing, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = await create(database, ring, app)
    client = await found(database, ring, new.client_id)
    two_keys = KeyRing((b"a-newer-secret-key-0123456789012", *ring.keys))
    compared: list[int] = []
    compare = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(len(other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)

    known = (check_secret(two_keys, client, "acs_wrong"), compared.copy())
    compared.clear()
    unknown = (check_secret(two_keys, None, "acs_wrong"), compared)

    assert known == unknown == (False, [43, 43])


@pytest.mark.parametrize("scopes", [(), ("ACCESS_DB", "ROOT"), ("access_db",)])
async def test_scopes_that_do_not_exist_are_refused(
    database: Database, ring: KeyRing, app: App, scopes: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidRequest):
        await database.write(lambda tx: clients.create_client(tx, ring, app.app_id, scopes, None, NOW))


async def test_owner_must_be_an_email(database: Database, ring: KeyRing, app: App) -> None:
    with pytest.raises(InvalidRequest, match="email address"):
        await create(database, ring, app, owner="boss")


async def test_clients_have_a_limit_that_revoking_frees(
    database: Database, ring: KeyRing, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "CLIENTS_MAX", 1)
    first = await create(database, ring, app)
    with pytest.raises(Conflict):
        await create(database, ring, app)
    await database.write(lambda tx: clients.revoke_client(tx, app.app_id, first.client_id, NOW))
    await create(database, ring, app)


async def test_no_client_without_an_app(database: Database, ring: KeyRing) -> None:
    with pytest.raises(NotFound):
        await database.write(lambda tx: clients.create_client(tx, ring, "app_x", ["ACCESS_DB"], None, NOW))
