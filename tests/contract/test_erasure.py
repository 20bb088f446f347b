"""What a deleted person has kept is erased with them, slice by slice, whoever writes meanwhile."""

import asyncio
from functools import partial

import pytest
from sqlalchemy import func, insert, select

from admit.accounts import user_deletion, users
from admit.data import tables
from admit.enrollment import departures
from admit.storage.transaction import Transaction
from tests.contract.row_desk import ADA, BOB, PUBLIC, Desk, desk_at
from tests.contract.served import Served

OF_PEOPLE = (tables.objects, tables.realms, tables.readied, tables.pushes)


@pytest.fixture
async def desk(served: Served) -> Desk:
    return await desk_at(served)


async def uid_of(desk: Desk, user_id: str) -> str:
    key = desk.app.app_id, user_id
    found = await desk.served.gateway.db.read(lambda tx: users.by_user_id(tx, [key]))
    return found[key].uid


async def kept_of(desk: Desk, uid: str) -> int:
    """How many rows there are that name the person."""

    def count(tx: Transaction) -> int:
        total = 0
        for table in OF_PEOPLE:
            whose = table.c.uid if table is tables.pushes else table.c.realm
            total += tx.execute(select(func.count()).where(whose == uid)).scalar_one()
        return total

    return await desk.served.gateway.db.read(count)


async def remember(desk: Desk, uid: str) -> None:
    """A push and a `ready` that fired, as sync and web hooks leave them."""
    app_id = desk.app.app_id

    def write(tx: Transaction) -> None:
        push = {"app_id": app_id, "uid": uid, "client": "c", "piece": "tx/1/0", "at": 1}
        tx.execute(insert(tables.pushes), push)
        fired = {"app_id": app_id, "realm": uid, "hook": "h", "table_name": "todos", "key": "t0"}
        tx.execute(insert(tables.readied), fired)

    await desk.served.gateway.db.write(write)


async def test_everything_goes_with_the_person_and_nothing_of_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "SLICE_ROWS", 3)
    monkeypatch.setattr(user_deletion, "SLICE_ROWS", 3)
    for realm in (ADA, BOB, PUBLIC):
        await desk.put(
            "todos", *({"id": f"t{n}", "realmId": realm} for n in range(0 if realm == PUBLIC else 10))
        )
    await desk.put("news", {"id": "n", "realmId": PUBLIC})
    ada, bob = await uid_of(desk, ADA), await uid_of(desk, BOB)
    await remember(desk, ada)
    assert await kept_of(desk, ada) == 10 + 1 + 2
    assert (await desk.program("DELETE", f"/users/{ADA}")).status == 200
    assert (await kept_of(desk, ada), await kept_of(desk, bob)) == (0, 10 + 1)
    assert len((await desk.program("GET", "/all/todos")).json) == 10
    assert len((await desk.stranger("GET", "/public/news")).json) == 1


async def test_somebody_who_returns_begins_with_nothing(desk: Desk) -> None:
    await desk.person(ADA, "POST", "/my/todos", {"id": "t"})
    await desk.person(ADA, "DELETE", f"/users/{ADA}")
    answer = await desk.person(ADA, "POST", "/my/todos", {"id": "t2"})
    assert (answer.status, answer.json["code"]) == (403, "user_not_found")
    await desk.served.write(desk.app, {"userId": ADA, "type": "prod"})
    assert (await desk.person(ADA, "GET", "/my/todos")).json == []
    assert (await desk.person(ADA, "POST", "/my/todos", {"id": "t"})).status == 200


async def test_a_deletion_that_is_interrupted_is_simply_asked_for_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "SLICE_ROWS", 2)
    monkeypatch.setattr(user_deletion, "SLICE_ROWS", 2)
    await desk.put("todos", *({"id": f"t{n}", "realmId": ADA} for n in range(7)))
    ada = await uid_of(desk, ADA)
    one = partial(
        user_deletion.delete_slice,
        app_id=desk.app.app_id,
        user_id=ADA,
        now=desk.served.hands(),
        elsewhere=departures.erase,
    )
    assert await desk.served.gateway.db.write(one) is user_deletion.Deletion.MORE
    assert await kept_of(desk, ada) == 5 + 1
    assert len((await desk.person(ADA, "GET", "/my/todos")).json) == 5
    assert (await desk.program("DELETE", f"/users/{ADA}")).status == 200
    assert await kept_of(desk, ada) == 0


async def test_writes_that_race_with_the_deletion_leave_nothing_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "SLICE_ROWS", 2)
    monkeypatch.setattr(user_deletion, "SLICE_ROWS", 2)
    await desk.put("todos", *({"id": f"t{n}", "realmId": ADA} for n in range(6)))
    ada = await uid_of(desk, ADA)
    writes = [desk.program("POST", "/all/todos", {"id": f"w{n}", "realmId": ADA}) for n in range(40)]
    gone, *answers = await asyncio.gather(desk.program("DELETE", f"/users/{ADA}"), *writes)
    assert gone.status == 200
    assert {answer.status for answer in answers} <= {200, 403, 404}
    assert await kept_of(desk, ada) == 0
