"""Variables of tasks: sealed, by name and by app, and never shown again."""

import asyncio
from functools import partial

import pytest
from sqlalchemy import select

from admit.errors import Conflict, InvalidRequest
from admit.storage.database import Database
from admit.storage.resealing import reseal
from admit.storage.sealing import KeyRing, SealBroken
from admit.tasks import env, sealed
from admit.tasks.env import TOPIC, VALUE_CHARACTERS_MAX, VARIABLES_MAX, Variable
from admit.tasks.tables import task_env
from tests.residents import APP, NOW

OTHER = "app_other"


async def put(
    database: Database, ring: KeyRing, name: str, value: str, app_id: str = APP, now: int = NOW
) -> None:
    await database.write(partial(env.put, ring=ring, app_id=app_id, name=name, value=value, now=now))


async def values(database: Database, ring: KeyRing, app_id: str = APP) -> dict[str, str | SealBroken]:
    return dict(await database.read(partial(env.values, ring=ring, app_id=app_id)))


async def test_a_variable_has_the_value_that_it_was_given_last(database: Database, ring: KeyRing) -> None:
    heard: list[str | None] = []
    database.signals.subscribe(TOPIC, heard.append)
    await put(database, ring, "CRM_TOKEN", "first")
    await put(database, ring, "CRM_TOKEN", "zweiter: ä\n", now=NOW + 5)
    await put(database, ring, "A", "x")
    assert await values(database, ring) == {"A": "x", "CRM_TOKEN": "zweiter: ä\n"}
    names = await database.read(partial(env.names, app_id=APP))
    assert names == [Variable("A", NOW), Variable("CRM_TOKEN", NOW + 5)]
    assert [each for each in heard if each] == [APP] * 3


async def test_apps_do_not_share_variables(database: Database, ring: KeyRing) -> None:
    await put(database, ring, "CRM_TOKEN", "mine")
    await put(database, ring, "CRM_TOKEN", "theirs", app_id=OTHER)
    assert await values(database, ring) == {"CRM_TOKEN": "mine"}
    assert await database.write(partial(env.remove, app_id=APP, name="CRM_TOKEN"))
    assert not await database.write(partial(env.remove, app_id=APP, name="CRM_TOKEN"))
    assert await values(database, ring) == {}
    assert await values(database, ring, OTHER) == {"CRM_TOKEN": "theirs"}


async def test_values_are_sealed_for_their_name_and_app(database: Database, ring: KeyRing) -> None:
    await put(database, ring, "CRM_TOKEN", "swordfish-swordfish")
    text = await database.read(lambda tx: str(tx.execute(select(task_env)).all()))
    assert "swordfish" not in text
    # Who can write to the database cannot give one task the secret of another.
    moved = task_env.update().values(name="SHOWN")
    await database.write(lambda tx: tx.execute(moved).rowcount)
    found = await values(database, ring)
    assert isinstance(found["SHOWN"], SealBroken)


async def test_values_are_sealed_anew_when_keys_are_exchanged(database: Database, ring: KeyRing) -> None:
    await put(database, ring, "CRM_TOKEN", "swordfish")
    newer = KeyRing.parse("another-secret-key-of-all-tests-0123456789," + ring.keys[0].decode())
    unit = partial(reseal, ring=newer, columns=sealed.SEALED, rows_max=10)
    assert [await database.write(unit), await database.write(unit)] == [1, 0]
    newest = KeyRing(newer.keys[:1])
    assert await values(database, newest) == {"CRM_TOKEN": "swordfish"}
    assert isinstance((await values(database, ring))["CRM_TOKEN"], SealBroken)


async def test_an_app_has_so_many_variables(database: Database, ring: KeyRing) -> None:
    await asyncio.gather(*(put(database, ring, f"V{number}", "x") for number in range(VARIABLES_MAX)))
    with pytest.raises(Conflict, match=f"at most {VARIABLES_MAX} variables"):
        await put(database, ring, "ONE_MORE", "x")
    await put(database, ring, "V0", "y")
    assert (await values(database, ring))["V0"] == "y"


@pytest.mark.parametrize("name", ["", "crm", "1A", "A-B", "A" * 65, "Ä", "A\n"])
def test_names_are_capitals(name: str) -> None:
    with pytest.raises(InvalidRequest, match="is not the name of a variable"):
        env.check(name, "x")


@pytest.mark.parametrize("value", ["", "sesame" * VALUE_CHARACTERS_MAX, "sesame\x00", "sesame\ud800"])
def test_a_value_that_cannot_be_kept_is_not_repeated_in_the_complaint(value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        env.check("CRM_TOKEN", value)
    assert "sesame" not in caught.value.message
    assert "CRM_TOKEN" in caught.value.message
