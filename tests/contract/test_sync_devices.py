"""Devices that push and pull by /sync: what they are answered, and what becomes of what they say."""

import asyncio
import io
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohttp
import pytest

from admit.accounts.apps import App
from admit.data import reading, table_settings
from admit.events import upkeep
from tests.contract.served import Served, serving
from tests.contract.sync_desk import ADA, TSON, Device, sync

BOB = "bob@example.com"


@pytest.fixture
async def app(served: Served) -> App:
    app = await served.app()
    await served.write(app, *({"userId": each, "type": "prod"} for each in (ADA, BOB)))
    return app


@pytest.fixture
async def home(door: Served) -> App:
    """The app of a server on SQLite, for what the database has no part in."""
    app = await door.app()
    await door.write(app, *({"userId": each, "type": "prod"} for each in (ADA, BOB)))
    return app


async def test_another_device_gets_what_was_pushed_and_nobody_else_does(served: Served, app: App) -> None:
    phone, laptop, bob, stranger = (
        Device(served, app),
        Device(served, app),
        Device(served, app, BOB),
        Device(served, app, ""),
    )
    for each in (phone, laptop, bob, stranger):
        await each.sync()
    phone.add("todos", "tdo1", {"title": "milk", "at": {"$t": "Date", "v": 5}})
    phone.put("pairs", '["a",1]', {"n": 1})
    told = await phone.sync()
    assert (told["changes"], told["rejections"]) == ([], [])
    for each in (laptop, bob, stranger):
        await each.sync()
    assert laptop.objects == phone.objects
    assert bob.objects == stranger.objects == {}
    laptop.update("todos", "tdo1", {"title": "bread"})
    laptop.delete("pairs", '["a",1]')
    await laptop.sync()
    await phone.sync()
    assert (
        phone.objects
        == laptop.objects
        == {("todos", "tdo1"): {"title": "bread", "at": {"$t": "Date", "v": 5}}}
    )


async def test_a_push_that_is_repeated_because_its_answer_was_lost_counts_once(
    served: Served, app: App
) -> None:
    phone, laptop = Device(served, app), Device(served, app)
    phone.add("todos", "tdo1", {"n": 1})
    await phone.sync()
    await laptop.sync()
    phone.did("todos", "update", "tdo1", changeSpecs=[{"n": {"@@propmod": {"add": 5}}}])
    for _ in range(3):
        assert (await phone.ask()).status == 200
    laptop.did("todos", "update", "tdo1", changeSpecs=[{"n": {"@@propmod": {"add": 100}}}])
    await asyncio.gather(laptop.sync(), phone.sync())
    for each in (phone, laptop, phone):
        await each.sync()
    assert phone.objects == laptop.objects == {("todos", "tdo1"): {"n": 106}}


async def test_one_spec_for_many_keys_is_meant_for_all(served: Served, app: App) -> None:
    phone, laptop = Device(served, app), Device(served, app)
    for key in ("tdo1", "tdo2"):
        phone.add("todos", key, {"n": 1})
    phone.did("todos", "update", "tdo1", "tdo2", changeSpecs=[{"n": 2}])
    await phone.sync()
    await laptop.sync()
    assert laptop.objects == {("todos", "tdo1"): {"n": 2}, ("todos", "tdo2"): {"n": 2}}


@pytest.mark.parametrize(
    ("type_", "key", "more"),
    [
        ("upsert", "tdo9", {"values": [{"realmId": BOB}]}),
        ("upsert", "tdo9", {"values": [{"realmId": "rlm-public"}]}),
        ("upsert", "tdo9", {"values": [{"realmId": "rlm1"}]}),
        ("update", "tdo1", {"changeSpecs": [{"realmId": BOB}]}),
        ("upsert", "__proto__", {"values": [{}]}),
        ("upsert", "k" * 501, {"values": [{}]}),
        ("upsert", "", {"values": [{}]}),
        ("upsert", "a\0b", {"values": [{}]}),
        ("upsert", "[1]", {"values": [{}]}),
        ("upsert", "tdo9", {"values": ["a text"]}),
        ("upsert", "tdo9", {"values": [None]}),
        ("upsert", "tdo9", {"values": [{"text": "x" * 1_000_001}]}),
        ("upsert", "tdo9", {"values": [{"deep": [[[[[[[[]]]]]]]]}]}),
        ("update", "tdo1", {"changeSpecs": [{"__proto__.polluted": 1}]}),
        ("update", "tdo1", {"changeSpecs": [{"a.__proto__": 1}]}),
        ("delete", "tdo1", {"userId": BOB}),
    ],
)
async def test_what_is_not_taken_is_told_and_rolled_back_and_the_rest_is_taken(
    door: Served, home: App, type_: str, key: str, more: dict[str, Any]
) -> None:
    if "deep" in str(more):
        more["values"][0]["deep"] = _nested(100)
    phone, laptop = Device(door, home), Device(door, home)
    phone.add("todos", "tdo1", {"n": 1})
    await phone.sync()
    phone.objects["todos", key] = {"only": "here"}
    phone.did("todos", type_, key, txid="bad", **more)
    phone.add("todos", "tdo2", {"n": 2})
    told = await phone.sync()
    assert [each["txid"] for each in told["rejections"]] == ["bad"]
    assert told["rejections"][0]["message"].endswith(".")
    await laptop.sync()
    kept = {("todos", "tdo1"): {"n": 1}, ("todos", "tdo2"): {"n": 2}}
    assert laptop.objects == kept
    assert phone.objects == kept


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("table", ["realms", "members", "roles", "$logins", "__proto__", "t" * 101])
async def test_tables_that_this_server_does_not_keep_are_rejected(
    door: Served, home: App, table: str
) -> None:
    phone = Device(door, home)
    phone.put(table, "one", {"name": "x"})
    told = await phone.sync()
    assert len(told["rejections"]) == 1
    assert phone.objects == {}


@pytest.mark.parametrize("text", [b'{"a":"\\ud800"}', b'{"__proto__":{"x":1}}', b'{"a":{"__proto__":1}}'])
async def test_values_that_a_page_can_have_but_nobody_can_keep_do_not_block_the_queue(
    door: Served, home: App, text: bytes
) -> None:
    first = b'{"clientIdentity":"c","changes":[{"table":"todos","muts":[%s,%s]}]}'
    odd = b'{"type":"insert","keys":["tdo1"],"txid":"odd","opNo":1,"rev":1,"values":[%s]}' % text
    plain = b'{"type":"insert","keys":["tdo2"],"txid":"plain","opNo":1,"rev":2,"values":[{"a":"\\u0000"}]}'
    answer = await sync(door, first % (odd, plain), door.bearer(home))
    assert answer.status == 200, answer.json
    assert [each["txid"] for each in answer.json["rejections"]] == ["odd"]
    laptop = Device(door, home)
    await laptop.sync()
    assert laptop.objects == {("todos", "tdo2"): {"a": "\0"}}


@pytest.mark.parametrize(
    "revision",
    ["", "1", "epo_0.abc.1.1", None, 7, {"$t": "bigint", "v": "7"}, "x" * 10_000, "a.b.c.d", "ahead"],
)
async def test_who_is_at_a_place_that_we_do_not_know_is_told_everything(
    door: Served, home: App, revision: Any
) -> None:
    phone, old = Device(door, home), Device(door, home)
    phone.add("todos", "tdo1", {"n": 1})
    phone.add("todos", "tdo2", {"n": 2})
    await phone.sync()
    await old.sync()
    phone.delete("todos", "tdo2")
    await phone.sync()
    assert old.last_pull is not None
    if revision == "ahead":
        epoch, sign, _, _ = str(old.last_pull["serverRevision"]).split(".")
        revision = f"{epoch}.{sign}.{10**17}.{10**17}"
    old.last_pull["serverRevision"] = revision
    await old.sync()
    assert old.objects == {("todos", "tdo1"): {"n": 1}}


async def test_after_a_restore_every_device_is_told_everything(served: Served, app: App) -> None:
    phone, laptop = Device(served, app), Device(served, app)
    phone.add("todos", "tdo1", {"n": 1})
    await phone.sync()
    await laptop.sync()
    await served.gateway.db.write(lambda tx: upkeep.begin_epoch(tx, app.app_id))
    laptop.objects.clear()
    await laptop.sync()
    assert laptop.objects == {("todos", "tdo1"): {"n": 1}}


async def test_who_was_deleted_and_returns_begins_with_nothing_and_misses_nothing(
    served: Served, app: App
) -> None:
    phone = Device(served, app)
    for number in range(2):
        phone.add("todos", f"tdo{number}", {"n": number})
        await phone.sync()
    headers = served.bearer(app, scopes=("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE"))
    assert (await served.ask("DELETE", f"/notes/users/{ADA}", headers=headers)).status < 300
    await served.write(app, {"userId": ADA, "type": "prod"})
    fresh, old = Device(served, app), phone
    assert (await fresh.sync())["changes"] == []
    for number in range(5):
        fresh.add("todos", f"new{number}", {"n": number})
        await fresh.sync()
    await old.sync()
    assert fresh.objects.items() <= old.objects.items()


async def test_a_long_answer_comes_in_pieces_and_whole(served: Served, app: App) -> None:
    phone, laptop = Device(served, app), Device(served, app)
    for start in range(0, 3_000, 500):
        keys = [f"tdo{number}" for number in range(start, start + 500)]
        values = [{"text": "x" * 300, "n": number} for number in range(start, start + 500)]
        phone.objects |= {("todos", key): value for key, value in zip(keys, values, strict=True)}
        phone.did("todos", "insert", *keys, values=values)
    await phone.sync()
    answer = await laptop.ask()
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in answer.headers
    assert "Access-Control-Allow-Origin" in answer.headers
    laptop.take(answer.json)
    assert laptop.objects == phone.objects


async def test_an_answer_that_breaks_off_cannot_be_taken_for_whole(
    door: Served, home: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = Device(door, home)
    phone.did("todos", "insert", *(f"tdo{n}" for n in range(500)), values=[{"text": "x" * 2_000}] * 500)
    phone.did("todos", "insert", *(f"tdp{n}" for n in range(500)), values=[{"text": "x" * 2_000}] * 500)
    await phone.sync()
    read = reading.pages

    async def breaks_off(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
        async for page in read(*arguments, **options):
            yield page
            raise RuntimeError("the disk is gone")

    monkeypatch.setattr(reading, "pages", breaks_off)
    body = io.BytesIO(b'{"clientIdentity":"c"}')
    with pytest.raises(aiohttp.ClientPayloadError):
        await door.ask("POST", "/notes/sync", data=body, headers=TSON | phone.headers)


async def test_tables_are_learned_from_those_who_write_to_them(served: Served, app: App) -> None:
    phone = Device(served, app)
    await phone.sync()
    find = partial(table_settings.of_app, app_id=app.app_id)
    assert await served.gateway.db.read(find) == []
    phone.add("todos", "tdo1", {"n": 1})
    await phone.sync()
    [known] = await served.gateway.db.read(find)
    assert (known.name, known.primary_key, known.id_prefix, known.generated) == ("todos", "id", "tdo", True)
    changed = phone.request | {"schema": {"todos": {"primaryKey": "other"}}, "changes": []}
    mut = {"type": "insert", "keys": ["tdo2"], "values": [{}], "txid": "t", "opNo": 1, "rev": 1}
    await sync(served, changed | {"changes": [{"table": "todos", "muts": [mut]}]}, phone.headers)
    assert await served.gateway.db.read(find) == [known]


async def test_two_servers_on_one_database_serve_the_same_devices(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as here, serving(served_postgres_url) as there:
        app = await here.app()
        await here.write(app, {"userId": ADA, "type": "prod"})
        phone, laptop = Device(here, app), Device(there, app)
        for number in range(10):
            phone.add("todos", f"a{number}", {"n": number})
            laptop.add("todos", f"b{number}", {"n": number})
            await asyncio.gather(phone.sync(), laptop.sync())
        for each in (phone, laptop):
            await each.sync()
        assert len(phone.objects) == 20
        assert phone.objects == laptop.objects
