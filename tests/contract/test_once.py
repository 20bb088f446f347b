"""What `--once` of an endpoint means for somebody on two devices, locked, deleted, and back again."""

import asyncio

from sqlalchemy import select

from admit.accounts.clients import NewClient
from admit.accounts.user_deletion import delete_user
from admit.jobs.tables import jobs
from admit.storage.transaction import Transaction
from tests.contract.served import Answered, Served, serving
from tests.contract.signin_desk import device
from tests.contract.test_endpoints_api import create
from tests.contract.token_desk import ask

ADA = "ada@example.com"
KINDS = ("user", "device", "enrollment")


async def endpoints(served: Served) -> dict[str, str]:
    """One endpoint of each kind, which hears of devices that enroll."""
    made = {once: await create(served, events=["device.enrolled"], once=once) for once in KINDS}
    return {made[once]["id"]: once for once in KINDS}


async def owed(served: Served, by_id: dict[str, str]) -> dict[str, int]:
    """How many deliveries each endpoint was owed so far."""

    def count(tx: Transaction) -> dict[str, int]:
        found = [by_id[row.lane] for row in tx.execute(select(jobs.c.lane).where(jobs.c.kind == "delivery"))]
        return {once: found.count(once) for once in KINDS}

    return await served.gateway.db.read(count)


async def enroll(served: Served, client: NewClient, device_id: str) -> Answered:
    answer = await ask(
        served,
        {
            "grant_type": "client_credentials",
            "client_id": client.client_id,
            "client_secret": client.client_secret,
            "claims": {"sub": ADA},
            "public_key": device().public_key.pem,
            "device": {"id": device_id},
        },
    )
    assert answer.status == 200, answer.body
    return answer


async def test_once_is_once_until_the_person_was_deleted(served: Served) -> None:
    app = await served.app()
    client, by_id = await served.client(app), await endpoints(served)

    first = await enroll(served, client, "phone")
    await enroll(served, client, "phone")
    assert await owed(served, by_id) == {"user": 1, "device": 1, "enrollment": 1}
    await enroll(served, client, "laptop")
    assert await owed(served, by_id) == {"user": 1, "device": 2, "enrollment": 2}

    path = f"/api/v4/notes/users/{ADA}/sessions/{first.json['claims']['sid']}/lock"
    assert (await served.ask("POST", path, headers=served.command())).status == 200
    again = await enroll(served, client, "phone")
    assert again.json["claims"]["sid"] != first.json["claims"]["sid"]
    assert await owed(served, by_id) == {"user": 1, "device": 2, "enrollment": 3}

    assert await delete_user(served.gateway.db, app.app_id, ADA, served.hands())
    before = await owed(served, by_id)
    await enroll(served, client, "phone")
    after = await owed(served, by_id)
    assert {once: after[once] - before[once] for once in KINDS} == dict.fromkeys(KINDS, 1)


async def test_once_is_once_on_two_servers_at_the_same_time(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as one, serving(served_postgres_url) as two:
        client, by_id = await one.client(await one.app()), await endpoints(one)
        await asyncio.gather(
            *(enroll((one, two)[turn % 2], client, f"device{turn % 4}") for turn in range(24))
        )
        assert await owed(one, by_id) == {"user": 1, "device": 4, "enrollment": 4}
