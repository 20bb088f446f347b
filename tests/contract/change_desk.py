"""A served app whose objects are changed, and the change hooks that are told of it."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import select

from admit.accounts import users
from admit.accounts.apps import App
from admit.data import announcing
from admit.data.announcing import Changed, Listening
from admit.data.authors import Author
from admit.data.changed import PUBLIC
from admit.data.tables import data_apps
from admit.events.change_filters import ChangeFilter
from admit.events.subscriptions import Filter
from admit.jobs.tables import jobs
from admit.outbound import signing
from admit.storage.transaction import Transaction
from admit.webhooks import endpoint_states, endpoints
from admit.webhooks.change_delivery import KIND
from admit.webhooks.endpoint_settings import SettingsChange
from admit.webhooks.endpoints import Endpoint
from tests.contract.served import Served
from tests.receiver import Receiver

SECRET = signing.new_secret()
ADA = "ada@example.com"


def filtered(*filters: Mapping[str, Any]) -> Filter:
    """A filter for changes; one of `filters` is enough."""
    return Filter(changes=tuple(ChangeFilter(**each) for each in filters))


@dataclass
class Desk:
    """A served app with what a test of change hooks does most."""

    served: Served
    app: App
    uids: dict[str, str] = field(default_factory=dict)

    async def hook(self, url: str, **settings: Any) -> str:
        """Makes a change hook and returns its id."""
        return await self.endpoint(url, format="dexie", **settings)

    async def endpoint(self, url: str, **settings: Any) -> str:
        made = SettingsChange(url=url, **settings)
        ring, now = self.served.gateway.ring, self.served.hands()
        return await self.served.gateway.db.write(
            lambda tx: endpoints.create(tx, ring, self.app.app_id, made, SECRET, now)
        )

    async def person(self, user_id: str = ADA) -> str:
        """The uid of somebody who lives here."""
        if user_id not in self.uids:
            await self.served.write(self.app, {"userId": user_id, "type": "prod"})
            found = await self.served.gateway.db.read(
                lambda tx: users.by_user_id(tx, [(self.app.app_id, user_id)])
            )
            self.uids[user_id] = found[self.app.app_id, user_id].uid
        return self.uids[user_id]

    async def change(self, *changes: Mapping[str, Any], of: str = ADA) -> None:
        """Changes objects in one unit; each of `changes` has members of Changed that are not as below."""
        uid = None if of == PUBLIC else await self.person(of)
        made = [self._changed(uid, of, each) for each in changes]
        await self.served.gateway.db.write(lambda tx: self._announce(tx, made))

    def _changed(self, uid: str | None, of: str, given: Mapping[str, Any]) -> Changed:
        members: dict[str, Any] = {
            "app_id": self.app.app_id,
            "realm": uid or PUBLIC,
            "realm_id": of,
            "author": Author(uid=uid, user_id=of),
            "table": "todos",
            "key": "t1",
            "type": "upsert",
            "before": None,
            "value": {"id": given.get("key", "t1"), "title": "Call Grace"},
            "now": self.served.hands(),
        }
        return Changed(**members | dict(given))

    def _announce(self, tx: Transaction, made: list[Changed]) -> None:
        announcing.announce(tx, made, {self.app.app_id: self._listening(tx)})

    def _listening(self, tx: Transaction) -> Listening:
        found = tx.execute(select(data_apps).where(data_apps.c.app_id == self.app.app_id)).one_or_none()
        return Listening() if found is None else Listening(found.tells == "yes", found.model_version)

    async def tells(self) -> bool:
        """Whether the app's changes are recorded."""
        return (await self.served.gateway.db.read(self._listening)).tells

    async def pause(self, endpoint_id: str) -> None:
        await self._become(endpoint_states.pause, endpoint_id)

    async def resume(self, endpoint_id: str) -> None:
        await self._become(endpoint_states.resume, endpoint_id)

    async def _become(self, become: Callable[..., bool], endpoint_id: str) -> None:
        unit = partial(become, app_id=self.app.app_id, endpoint_id=endpoint_id, now=self.served.hands())
        assert await self.served.gateway.db.write(unit)

    async def state(self, endpoint_id: str) -> Endpoint:
        found = await self.served.gateway.db.read(
            lambda tx: endpoints.find(tx, self.served.gateway.ring, self.app.app_id, endpoint_id)
        )
        assert found is not None
        return found

    async def rows(self) -> list[Any]:
        """The jobs of change hooks, the oldest first."""
        wanted = select(jobs).where(jobs.c.kind == KIND).order_by(jobs.c.created_at, jobs.c.job_id)
        return await self.served.gateway.db.read(lambda tx: list(tx.execute(wanted)))

    async def until(self, condition: Callable[[list[Any]], bool], seconds: float = 15) -> list[Any]:
        """The jobs once `condition` holds."""
        give_up_at = time.monotonic() + seconds
        while not condition(rows := await self.rows()):
            assert time.monotonic() < give_up_at, [(row.state, row.detail, row.attempts) for row in rows]
            await asyncio.sleep(0.02)
        return rows

    async def quiet(self) -> list[Any]:
        """The jobs once all have ended."""
        return await self.until(lambda rows: all(row.finished_at is not None for row in rows))

    async def failed_once(self) -> list[Any]:
        return await self.until(lambda rows: any(row.state == "waiting" and row.tried_at for row in rows))

    def hurry(self, **ahead: float) -> None:
        """Moves the clock, and has the workers look at it."""
        self.served.hands.move(**ahead)
        self.served.gateway.db.signals.look_yourselves()


def changes_in(told: Receiver) -> list[Any]:
    """All changes that a receiver was told, in the order in which they came; of repeats, the first."""
    bodies = {call.headers["webhook-id"]: call.body for call in told.calls}
    return [each for body in bodies.values() for each in json.loads(body)["changes"]]


def keys_in(told: Receiver) -> list[str]:
    """The keys in `changes_in`."""
    return [each["key"] for each in changes_in(told)]


async def told_of(told: Receiver, count: int, seconds: float = 20) -> None:
    """Waits until a receiver was told of so many changes."""
    give_up_at = time.monotonic() + seconds
    while len(changes_in(told)) < count:
        assert time.monotonic() < give_up_at, keys_in(told)
        await asyncio.sleep(0.02)
