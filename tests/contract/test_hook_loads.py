"""What hooks may cost those who write: never their push, and never what belongs to others."""

import time

from msgspec.structs import replace

from admit.accounts.session_opening import Opened
from admit.data import pushing
from admit.data.operations import Operation, Written
from admit.storage.database import Database
from tests.contract.model_desk import app_with, batch, operation

EIGHT_READY = "".join(
    f'[[models.task.webhooks]]\ntype = "ready"\nname = "ready_{number}"\nfields = ["title"]\n'
    for number in range(8)
)


async def push(database: Database, here: Opened, *operations: Operation) -> Written:
    """As a client pushes, each operation a transaction of its own that is remembered."""
    remembered = tuple(replace(each, piece=f"{each.txid}/0") for each in operations)
    written = await pushing.push(database, replace(batch(here, *remembered), client="device"))
    assert not written.rejections, written.rejections
    return written


async def test_push_of_many_objects_with_many_hooks(database: Database) -> None:
    ada = await app_with(database, EIGHT_READY)
    started = time.monotonic()
    await push(database, ada, *(operation("insert", f"t{number}", title="One") for number in range(500)))
    print("insert", time.monotonic() - started)
    started = time.monotonic()
    await push(database, ada, *(operation("delete", f"t{number}") for number in range(500)))
    print("delete", time.monotonic() - started)
