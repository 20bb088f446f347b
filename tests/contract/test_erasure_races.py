"""Two servers on PostgreSQL: one deletes a person while the other writes what they keep."""

import asyncio
from functools import partial

from sqlalchemy import func, select

from admit.data import object_writing, tables
from admit.data.authors import Author
from admit.data.object_writing import Want, Wanted
from admit.data.realms import of_user
from admit.enrollment.departures import delete_person
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import APP, NOW, move_in, person, start_app

ROUNDS = 15
WRITES = 10


def kept(tx: Transaction) -> int:
    """How many objects and realms there are."""
    both = (tables.objects, tables.realms)
    return sum(tx.execute(select(func.count()).select_from(each)).scalar_one() for each in both)


async def test_what_is_written_while_a_person_is_deleted_is_erased_or_refused(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    for server in servers:
        server.signals.attach(asyncio.get_running_loop())
    await start_app(servers[0])
    for round_ in range(ROUNDS):
        ada = person(f"ada{round_}")
        await move_in(servers[0], ada)
        author = Author(uid=ada.uid, user_id=ada.user_id)

        wants = [
            Want(method="put", realm=of_user(ada), table="todos", key=f"t{number}", value={"n": number})
            for number in range(WRITES)
        ]
        first, *others = (Wanted(app_id=APP, author=author, wants=[want], now=NOW) for want in wants)
        assert await servers[1].write(partial(object_writing.write, wanted=first)) == ["done"]
        writes = [servers[1].write(partial(object_writing.write, wanted=each)) for each in others]
        deleted, *outcomes = await asyncio.gather(delete_person(servers[0], APP, ada.user_id, NOW), *writes)
        assert deleted
        assert all(outcome in (["done"], ["gone"]) for outcome in outcomes)
        assert await servers[0].read(kept) == 0
    for server in servers:
        server.close()
