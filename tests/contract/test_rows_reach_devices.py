"""What programs write by REST is on the devices at once, and what devices write is read by REST."""

import pytest

from tests.contract.row_desk import ADA, BOB, PUBLIC, Desk, desk_at
from tests.contract.served import Served
from tests.contract.sync_desk import Device
from tests.contract.test_changes_socket import heard, waiting


@pytest.fixture
async def desk(served: Served) -> Desk:
    return await desk_at(served)


async def test_an_open_client_hears_of_rows_that_programs_put_change_and_delete(desk: Desk) -> None:
    phone = Device(desk.served, desk.app, ADA)
    async with waiting(phone) as at_phone:
        await desk.put(
            "todos", {"id": "tdo1", "realmId": ADA, "n": 1}, {"id": "tdo1", "realmId": BOB, "n": 9}
        )
        await heard(phone, at_phone)
        assert phone.objects == {("todos", "tdo1"): {"id": "tdo1", "n": 1}}
        patch = {"method": "patch", "object": {"type": "todos", "id": "tdo1", "realmId": ADA, "n": 2}}
        where, command = f"/api/v4/{desk.app.name}/batch.json", desk.served.command()
        await desk.served.ask("POST", where, headers=command, json={"operations": [patch]})
        await heard(phone, at_phone)
        assert phone.objects == {("todos", "tdo1"): {"id": "tdo1", "n": 2}}
        await desk.put("notes", {"id": "n", "realmId": PUBLIC})
        await heard(phone, at_phone)
        assert set(phone.objects) == {("todos", "tdo1"), ("notes", "n")}
        await desk.program("DELETE", f"/all/todos/tdo1?realmId={ADA}")
        await heard(phone, at_phone)
        assert set(phone.objects) == {("notes", "n")}


async def test_what_a_device_writes_is_read_by_rest_and_tells_of_its_tables(desk: Desk) -> None:
    phone = Device(desk.served, desk.app, ADA)
    phone.put("todos", "tdo1", {"id": "tdo1", "n": 1})
    await phone.sync()
    assert (await desk.program("GET", "/all/todos/tdo1")).json == {
        "id": "tdo1",
        "n": 1,
        "realmId": ADA,
        "owner": ADA,
    }
    made = await desk.person(ADA, "POST", "/my/todos", {"n": 2})
    assert made.json["id"].startswith("tdo")
    await phone.sync()
    assert phone.objects["todos", made.json["id"]]["n"] == 2


async def test_a_device_that_was_offline_and_a_program_change_one_row(desk: Desk) -> None:
    phone = Device(desk.served, desk.app, ADA)
    await desk.put("todos", {"id": "tdo1", "realmId": ADA, "n": 1, "title": "Tea"})
    await phone.sync()
    phone.update("todos", "tdo1", {"n": 2})
    where, command = f"/api/v4/{desk.app.name}/objects/todos/tdo1.json", desk.served.command()
    assert (await desk.served.ask("PATCH", where, headers=command, json={"title": "Milk"})).status == 200
    await phone.sync()
    assert phone.objects["todos", "tdo1"] == {"id": "tdo1", "n": 2, "title": "Milk"}
    stored = (await desk.program("GET", "/all/todos/tdo1")).json
    assert (stored["n"], stored["title"]) == (2, "Milk")


async def test_a_row_that_a_program_makes_anew_wins_over_its_deletion(desk: Desk) -> None:
    phone = Device(desk.served, desk.app, ADA)
    phone.put("todos", "tdo1", {"id": "tdo1"})
    await phone.sync()
    phone.delete("todos", "tdo1")
    await phone.sync()
    await desk.put("todos", {"id": "tdo1", "realmId": ADA, "again": True})
    await phone.sync()
    assert phone.objects == {("todos", "tdo1"): {"id": "tdo1", "again": True}}
