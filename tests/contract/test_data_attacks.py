"""What somebody may send so that the data of others, or the server, suffer: by /sync and its socket."""

import json
from typing import Any

import msgspec
import pytest
from aiohttp import WSMsgType

from admit.accounts.apps import App
from admit.data import pushing, wire, writing
from admit.data.markers import Marker
from admit.data.operations import Batch, Written
from admit.data.scouting import _asked
from admit.data.values import read_json, text_of
from admit.storage.transaction import Transaction
from admit.web import sockets, sync_requests
from tests.contract.row_desk import Desk
from tests.contract.served import Served
from tests.contract.sync_desk import ADA, Device, sync
from tests.contract.test_changes_socket import socket

BOB = "bob@example.com"
DEEP: Any = json.loads("[" * 600 + "]" * 600)
EQUAL = {"type": 1, "lower": 1}


@pytest.fixture
async def app(served: Served) -> App:
    app = await served.app()
    await served.write(app, *({"userId": each, "type": "prod"} for each in (ADA, BOB)))
    return app


@pytest.fixture
async def home(door: Served) -> App:
    app = await door.app()
    await door.write(app, *({"userId": each, "type": "prod"} for each in (ADA, BOB)))
    return app


@pytest.fixture
async def phone(served: Served, app: App) -> Device:
    """A device of Ada's that has one object."""
    device = Device(served, app)
    device.add("todos", "k", {"n": 1, "tags": ["a"]})
    await device.sync()
    return device


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("modify", {"changeSpec": {"n": 2}, "criteria": {"index": "n", "range": {"type": 1, "lower": DEEP}}}),
        ("delete", {"criteria": {"index": "n", "range": {"type": 2, "lower": DEEP, "upper": [[]]}}}),
        ("delete", {"criteria": {"index": "n", "range": {"type": 1, "lower": "\ud800"}}}),
        ("delete", {"criteria": {"index": "n", "range": {"type": 1, "lower": "x" * 100_001}}}),
        ("update", {"changeSpecs": [{"tags": {"@@propmod": {"add": [DEEP, DEEP]}}}]}),
        ("update", {"changeSpecs": [{"tags": {"@@propmod": {"remove": [DEEP]}}}]}),
        ("update", {"changeSpecs": [{"n": DEEP}]}),
        ("update", {"changeSpecs": [{"tags.102": 1}]}),
        ("update", {"changeSpecs": [{"tags.__proto__.x": 1}]}),
        ("update", {"changeSpecs": [{f"p{each}": 1 for each in range(10_001)}]}),
        ("upsert", {"values": [{"n": "\ud800"}]}),
        ("upsert", {"values": [{"n": DEEP}]}),
        ("upsert", {"values": [{"realmId": BOB}]}),
        ("upsert", {"values": [{"realmId": "rlm-public"}]}),
    ],
)
async def test_what_cannot_be_taken_is_rejected_and_blocks_nothing(
    phone: Device, kind: str, more: dict[str, Any]
) -> None:
    hostile = phone.did("todos", kind, "k", **more)
    for each in range(12):
        phone.add("todos", f"later{each}", {"n": each})
    body = json.dumps(phone.request).encode()
    answer = await sync(phone.served, body, phone.headers)
    assert answer.status == 200, answer.body
    assert [each["txid"] for each in answer.json["rejections"]] == [hostile["txid"]]
    phone.take(answer.json)
    laptop = Device(phone.served, phone.app)
    await laptop.sync()
    assert laptop.objects == phone.objects
    assert laptop.objects["todos", "k"] == {"n": 1, "tags": ["a"]}
    assert len(laptop.objects) == 13


@pytest.mark.parametrize("half", ["txid", "clientIdentity"])
async def test_half_a_character_in_a_name_is_refused_before_anything_is_written(
    phone: Device, half: str
) -> None:
    phone.did("todos", "delete", "k", **({"txid": "t\ud800"} if half == "txid" else {}))
    request = phone.request | ({half: "\ud800"} if half == "clientIdentity" else {})
    answer = await sync(phone.served, json.dumps(request).encode(), phone.headers)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    laptop = Device(phone.served, phone.app)
    await laptop.sync()
    assert len(laptop.objects) == 1


async def test_numbers_that_javascript_writes_without_a_point_are_kept(phone: Device) -> None:
    phone.put("todos", "k", {"n": 10**20, "small": -(10**19)})
    assert (await phone.sync())["rejections"] == []
    laptop = Device(phone.served, phone.app)
    await laptop.sync()
    assert laptop.objects == {("todos", "k"): {"n": 1e20, "small": -1e19}}


def test_a_number_is_kept_as_clients_read_it() -> None:
    assert text_of(read_json(b'{"a":100000000000000000000,"b":9007199254740993}')) == (
        '{"a":1e20,"b":9007199254740993}'
    )


async def test_as_many_base_revisions_as_operations_are_looked_up_at_once(served: Served, app: App) -> None:
    """Quadratic, this would hold the event loop for minutes."""
    many = 30_000
    request = sync_requests.read(
        msgspec.json.encode(
            {
                "baseRevs": [
                    {"tableName": "todos", "clientRev": many - each, "serverRev": f"epo..{many - each}.0"}
                    for each in range(many)
                ],
                "changes": [
                    {
                        "table": "todos",
                        "muts": [
                            {"type": "delete", "keys": ["k"], "txid": "t", "rev": each, "opNo": each}
                            for each in range(many)
                        ],
                    }
                ],
            }
        )
    )
    last = Marker("epo", "", 5, 0)
    bases = [each.base for each in sync_requests.operations(request, last)]
    assert bases == [-1, *range(1, many)]


def test_what_is_listed_by_many_operations_with_the_same_criteria_is_held_once() -> None:
    mut = {"type": "delete", "txid": "t", "rev": 1, "criteria": {"index": "n", "range": EQUAL}}
    keys = [f"k{each}" for each in range(1_000)]
    muts = [mut | {"keys": keys if each == 0 else ["k1"], "opNo": each} for each in range(50)]
    request = sync_requests.read(msgspec.json.encode({"changes": [{"table": "todos", "muts": muts}]}))
    operations = tuple(sync_requests.operations(request, Marker("epo", "", 0, 0)))
    asked, listed = _asked(operations)
    assert len(asked) == 50
    assert [len(each) for each in listed.values()] == [1_000]


async def test_operations_without_keys_do_not_fill_a_unit(
    phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(tx: Transaction, batches: list[Batch]) -> list[Written]:
        sizes.extend(len(each.operations) for each in batches)
        return writing.write(tx, batches)

    monkeypatch.setattr(pushing, "write", counted)
    for _ in range(1_000):
        phone.did("todos", "delete", criteria={"index": "n", "range": {"type": 1, "lower": 7}})
    await phone.sync()
    assert sum(sizes) == 1_000
    assert max(sizes) <= pushing.UNIT_KEYS


async def test_a_public_object_that_came_back_is_told_with_a_repeated_delete(phone: Device) -> None:
    """The device has dropped what it heard meanwhile, since its delete waited for an answer."""
    client = await phone.served.client(phone.app)
    desk = Desk(phone.served, phone.app, client.client_id)
    await desk.put("notes", {"id": "P", "realmId": "rlm-public", "n": 1})
    await phone.sync()
    assert ("notes", "P") in phone.objects
    assert (await desk.program("DELETE", "/all/notes/P?realmId=rlm-public")).status == 200
    phone.delete("notes", "P")
    await phone.ask()  # its answer is lost
    await desk.put("notes", {"id": "P", "realmId": "rlm-public", "n": 2})
    laptop = Device(phone.served, phone.app)
    await laptop.sync()
    assert phone.last_pull is not None
    assert laptop.last_pull is not None
    phone.last_pull["serverRevision"] = laptop.last_pull["serverRevision"]
    await phone.sync()
    assert phone.objects == laptop.objects


async def test_who_answers_each_change_is_not_taken_for_a_flood(
    door: Served, home: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MESSAGES_MAX", 5)
    phone, laptop = Device(door, home), Device(door, home)
    await phone.sync()
    await laptop.sync()
    async with socket(door, door.token(home), client=laptop.name) as connected:
        await connected.send_json(_ready(laptop, home))
        for each in range(12):
            phone.put("todos", "k", {"n": each})
            await phone.sync()
            told = await connected.receive_json(timeout=5)
            assert told["type"] == "changes"
            laptop.hear(told)
            await connected.send_json(_ready(laptop, home))
        assert laptop.objects == phone.objects
        old = told["baseRev"]
        for _ in range(6):
            await connected.send_json(_ready(laptop, home) | {"rev": old})
            if (await connected.receive(timeout=5)).type is not WSMsgType.TEXT:
                break
        assert connected.close_code == 1008


def _ready(device: Device, app: App) -> dict[str, Any]:
    assert device.last_pull is not None
    return {
        "type": "ready",
        "rev": device.last_pull["serverRevision"],
        "realmSetHash": wire.realm_set_hash(["rlm-public", ADA]),
    }
