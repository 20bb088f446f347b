"""Opaque userIds and SECRET_KEY: people stay who they are, whatever becomes of the keys of the server."""

import asyncio
import re
from functools import partial

import pytest
from sqlalchemy import select

from admit.accounts.apps import App, UserIds, create_app, load_app
from admit.accounts.signing_keys import load_keys, tend_keys
from admit.accounts.tables import hook_secrets, id_keys, signing_keys
from admit.gateway import SEALED
from admit.signin.proof import user_id_of_email
from admit.signin.tables import sign_in_codes
from admit.storage.database import Database
from admit.storage.resealing import reseal
from admit.storage.schema import metadata
from admit.storage.sealing import KeyRing, SealBroken
from admit.storage.transaction import Transaction
from tests.contract.served import ORIGIN, SECRET_KEY, Served, serving
from tests.contract.signin_desk import device

NOW = 1_800_000_000_000
ADA = "ada@example.com"
FORMER = "the-former-secret-key-of-this-server-0123456789"
NEW = "the-new-secret-key-of-this-server-0123456789"


async def create(database: Database, ring: KeyRing, name: str = "demo", ids: UserIds = "opaque") -> App:
    made = await database.write(
        lambda tx: create_app(tx, ring, name=name, owner="o@example.com", user_ids=ids, now=NOW)
    )
    assert isinstance(made, App)
    return made


async def load(database: Database, ring: KeyRing, app: App) -> App:
    loaded = await database.read(lambda tx: load_app(tx, ring, app.app_id))
    assert loaded is not None
    return loaded


async def test_opaque_ids_say_nothing_and_differ_from_app_to_app(database: Database, ring: KeyRing) -> None:
    one, other = await create(database, ring), await create(database, ring, "other")
    made = user_id_of_email(one, ADA)
    assert re.fullmatch(r"usr-[A-Za-z0-9_-]{43}", made)
    assert made == user_id_of_email(await load(database, ring, one), ADA)
    assert made != user_id_of_email(other, ADA)
    assert made != user_id_of_email(one, "bob@example.com")


async def test_app_whose_ids_are_emails_has_no_key(database: Database, ring: KeyRing) -> None:
    app = await create(database, ring, ids="email")
    assert (app.id_key, user_id_of_email(app, ADA)) == ("", ADA)
    assert await database.read(lambda tx: tx.execute(select(id_keys)).all()) == []


async def test_id_key_is_sealed_for_its_app_and_never_shown(database: Database, ring: KeyRing) -> None:
    one, other = await create(database, ring), await create(database, ring, "other")
    found = await database.read(lambda tx: tx.execute(select(id_keys)).all())
    rows = {row.app_id: row.sealed for row in found}
    assert one.id_key not in str(rows)
    assert one.id_key not in repr(one)
    moved = id_keys.update().where(id_keys.c.app_id == other.app_id).values(sealed=rows[one.app_id])
    await database.write(lambda tx: tx.execute(moved))
    with pytest.raises(SealBroken):
        await load(database, ring, other)


async def test_keys_are_exchanged_freely_and_nobody_becomes_a_stranger(database: Database) -> None:
    former, both = KeyRing.parse(FORMER), KeyRing.parse(f"{NEW},{FORMER}")
    app = await create(database, former)
    await database.write(partial(tend_keys, ring=former, now=NOW))
    user_id = user_id_of_email(app, ADA)

    assert user_id_of_email(await load(database, both, app), ADA) == user_id
    while await database.write(partial(reseal, ring=both, columns=SEALED, rows_max=1)):
        pass

    new = KeyRing.parse(NEW)
    later = await load(database, new, app)
    assert user_id_of_email(later, ADA) == user_id
    assert later.hook_secret == app.hook_secret
    assert len(await database.read(partial(load_keys, ring=new))) == 1
    with pytest.raises(SealBroken):
        await load(database, former, app)


async def test_what_is_sealed_under_the_newest_key_is_left_alone(database: Database, ring: KeyRing) -> None:
    await create(database, ring)
    await database.write(partial(tend_keys, ring=ring, now=NOW))
    assert await database.write(partial(reseal, ring=ring, columns=SEALED, rows_max=100)) == 0


async def test_two_processes_that_seal_anew_at_once_lose_nothing(postgres_url: str) -> None:
    former, both = KeyRing.parse(FORMER), KeyRing.parse(f"{NEW},{FORMER}")
    here, there = Database(postgres_url), Database(postgres_url)
    try:
        made = [await create(here, former, f"app-{number}") for number in range(20)]
        anew = partial(reseal, ring=both, columns=SEALED, rows_max=100)
        await asyncio.gather(here.write(anew), there.write(anew))
        for app in made:
            found = await load(there, KeyRing.parse(NEW), app)
            assert (found.id_key, found.hook_secret) == (app.id_key, app.hook_secret)
    finally:
        here.close()
        there.close()


async def test_what_no_key_opens_keeps_nobody_from_sealing_the_rest(database: Database) -> None:
    both = KeyRing.parse(f"{NEW},{FORMER}")
    broken, whole = await create(database, KeyRing.parse(FORMER)), await create(database, both, "whole")
    other = await create(database, KeyRing.parse(FORMER), "other")
    spoil = id_keys.update().where(id_keys.c.app_id == broken.app_id).values(sealed="s1.xxxxxx.yyyy")
    await database.write(lambda tx: tx.execute(spoil))
    await database.write(partial(reseal, ring=both, columns=SEALED, rows_max=100))
    new = KeyRing.parse(NEW)
    for app in (whole, other):
        assert (await load(database, new, app)).id_key == app.id_key


def test_every_sealed_column_that_lasts_is_sealed_anew() -> None:
    lasting = {
        column for table in metadata.tables.values() for column in table.c if column.name.startswith("sealed")
    }
    assert {each.column for each in SEALED} == lasting - {sign_in_codes.c.sealed}  # good for a minute
    assert {id_keys.c.sealed, hook_secrets.c.sealed, signing_keys.c.sealed} <= lasting


async def sign_in(server: Served, app: App) -> str:
    """The userId of Ada, who signs in by a mailed code."""
    step = {"grant_type": "otp", "email": ADA, "scopes": ["ACCESS_DB"]}
    path = f"/{app.name}/token"
    otp_id = (await server.ask("POST", path, json=step)).json["otp_id"]
    async with asyncio.timeout(20):
        while not server.mails or server.mails[-1].mail.otp is None:
            await asyncio.sleep(0.01)
    code = {"otp_id": otp_id, "otp": server.mails[-1].mail.otp, "public_key": device().public_key.pem}
    answer = await server.ask("POST", path, json=step | code, headers={"Origin": ORIGIN})
    assert answer.status == 200, answer.body
    user_id: str = answer.json["claims"]["sub"]
    return user_id


async def test_server_with_new_keys_knows_its_residents(served_url: str) -> None:
    """Old key, then both, then only the new one: the same person each time."""
    seen: set[str] = set()
    for keys in (SECRET_KEY, f"{NEW},{SECRET_KEY}", NEW):
        async with serving(served_url, secret_key=keys) as server:
            if not seen:
                app = await create(server.gateway.db, server.gateway.ring, "notes")
            elif keys != NEW:
                waits = partial(_sealed_with_another_key, server.gateway.ring)
                async with asyncio.timeout(20):
                    while await server.gateway.db.read(waits):
                        await asyncio.sleep(0.01)
            seen.add(await sign_in(server, app))
    assert len(seen) == 1


def _sealed_with_another_key(ring: KeyRing, tx: Transaction) -> bool:
    found = [tx.execute(select(each.column)).scalars().all() for each in SEALED]
    return any(not sealed.startswith(ring.mark) for some in found for sealed in some)
