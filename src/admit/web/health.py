"""For load balancers: is the process alive, and does its database answer?"""

import asyncio
from typing import Literal

import msgspec
from sqlalchemy import literal, select
from starlette.responses import Response

from admit.errors import StorageUnavailable
from admit.storage.transaction import Transaction
from admit.web.operations import Call, Operation

DATABASE_SECONDS_MAX = 2.0

ANYTHING = select(literal(1))


class Health(msgspec.Struct, frozen=True):
    """The server lives, or is ready."""

    status: Literal["ok"] = "ok"


async def get_health(call: Call) -> Response:
    """Answers as long as the process can."""
    return call.answer(Health())


async def get_readiness(call: Call) -> Response:
    """Answers 503 while the database does not, so that requests go to other servers."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS_MAX):
            await call.gateway.db.read(_ask)
    except TimeoutError:
        raise StorageUnavailable("The database does not answer.") from None
    return call.answer(Health())


def _ask(tx: Transaction) -> None:
    tx.execute(ANYTHING).scalar_one()


OPERATIONS = (
    Operation(
        method="GET",
        path="/healthz",
        handler=get_health,
        summary="Whether the process is alive",
        access="open",
        answer=Health,
    ),
    Operation(
        method="GET",
        path="/readyz",
        handler=get_readiness,
        summary="Whether the server can serve: its database answers",
        access="open",
        answer=Health,
        codes=("storage_unavailable",),
    ),
)
PATHS = frozenset(operation.path for operation in OPERATIONS)
