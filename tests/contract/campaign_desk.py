"""An app whose endpoints are told by hand: there is no worker, and the test takes every step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from admit.accounts import session_opening, users
from admit.accounts.users import NewUser, User
from admit.errors import Conflict
from admit.events import log
from admit.events.catalog import Device as DeviceMember
from admit.events.catalog import DeviceEnrolled, Person, UserDeleted
from admit.events.catalog import Session as SessionMember
from admit.events.log import Event
from admit.jobs import claims, queue
from admit.jobs.claims import Wanted
from admit.jobs.queue import Job, Settlement
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from admit.webhooks import campaign_starts, campaign_steps, campaigns, endpoint_states, endpoints
from admit.webhooks.campaign_steps import Step
from admit.webhooks.campaigns import Campaign, CampaignJob
from admit.webhooks.endpoint_settings import SettingsChange
from admit.webhooks.endpoints import Endpoint
from admit.webhooks.secrets import new_secret
from tests.residents import APP, NOW, login

URL = "https://crm.example.com/hooks"
LEASE_MS = 60_000


@dataclass
class Desk:
    """An app on a database without a worker: the test takes every step itself."""

    db: Database
    ring: KeyRing
    now: int = NOW

    async def endpoint(self, **chosen: Any) -> str:
        new = SettingsChange(**{"url": URL} | chosen)
        secret = new_secret("hmac")
        return await self.db.write(lambda tx: endpoints.create(tx, self.ring, APP, new, secret, self.now))

    async def standing(self, endpoint_id: str) -> Endpoint:
        found = await self.db.read(lambda tx: endpoints.find(tx, self.ring, APP, endpoint_id))
        assert found is not None
        return found

    async def happens(self, *names: str) -> None:
        """Something about each of these people, of which endpoints are told."""

        def unit(tx: Transaction) -> None:
            for name in names:
                data = UserDeleted(user=Person(uid=f"usr_{name}", user_id=name, type="eval"))
                log.record(tx, Event(app_id=APP, uid=f"usr_{name}", occurred_at=self.now, data=data))

        await self.db.write(unit)

    async def enrolls(self, name: str, device: str) -> None:
        data = DeviceEnrolled(
            user=Person(uid=f"usr_{name}", user_id=name, type="eval"),
            device=DeviceMember(identifier=device, derived=False, first_seen=""),
            session=SessionMember(id=f"ses_{device}", ordinal=1),
        )
        event = Event(app_id=APP, uid=f"usr_{name}", occurred_at=self.now, data=data)
        await self.db.write(lambda tx: log.record(tx, event))

    async def pause(self, endpoint_id: str) -> None:
        assert await self.db.write(
            partial(endpoint_states.pause, app_id=APP, endpoint_id=endpoint_id, now=self.now)
        )

    async def resume(self, endpoint_id: str) -> Campaign:
        """Enables the endpoint and returns the campaign by which it catches up."""
        assert await self.db.write(
            partial(endpoint_states.resume, app_id=APP, endpoint_id=endpoint_id, now=self.now)
        )
        shown = await self.db.read(
            partial(campaigns.page, app_id=APP, endpoint_id=endpoint_id, before="", limit=10)
        )
        return next(each.campaign for each in shown if each.campaign.kind == "catch_up")

    async def replay(self, endpoint_id: str, **chosen: Any) -> Campaign | Conflict | None:
        begin = {"since": None, "after": None, "per_minute": None, "now": self.now} | chosen
        return await self.db.write(lambda tx: campaign_starts.start_replay(tx, APP, endpoint_id, **begin))

    async def retry(self, endpoint_id: str, since: int = 0) -> Campaign | Conflict | None:
        return await self.db.write(
            lambda tx: campaign_starts.start_retry(
                tx, APP, endpoint_id, since=since, per_minute=None, now=self.now
            )
        )

    async def backfill(self, endpoint_id: str, of: Any = "user", **chosen: Any) -> Any:
        begin = {"total": 0, "per_minute": None, "now": self.now} | chosen
        return await self.db.write(
            lambda tx: campaign_starts.start_backfill(tx, APP, endpoint_id, of=of, **begin)
        )

    async def current(self, campaign: Campaign) -> Campaign:
        found = await self.db.read(lambda tx: campaigns.find(tx, APP, campaign.campaign_id))
        assert found is not None
        return found

    async def step(self, campaign: Campaign, *, db: Database | None = None) -> Step:
        """One step, of the turn that the campaign has now."""
        task = CampaignJob(campaign.campaign_id, campaign.endpoint_id, (await self.current(campaign)).turn)
        return await (db or self.db).write(
            partial(campaign_steps.step, app_id=APP, task=task, now=self.now), patient=True
        )

    async def work_off(
        self, campaign: Campaign, between: Callable[[], Any] | None = None
    ) -> tuple[Campaign, list[Job]]:
        """Takes steps until the campaign is over, and delivers what has been left to be delivered."""
        delivered = []
        while not (step := await self.step(campaign)).over:
            if step.full:
                delivered += await self.deliver(campaign.endpoint_id)
            self.now += step.wait_ms
            if between is not None:
                await between()
        delivered += await self.deliver(campaign.endpoint_id)
        return await self.current(campaign), delivered

    async def deliver(self, endpoint_id: str, *, state: Any = "done", most: int = 500) -> list[Job]:
        """Delivers everything that is due, and what is due then; in the order of delivery."""
        delivered: list[Job] = []
        while True:
            self.now += 1
            wanted = [Wanted("delivery", endpoint_id, tried, most, LEASE_MS) for tried in (True, False)]
            claimed = await self.db.write(partial(claims.claim, wanted=wanted, worker="wkr_1", now=self.now))
            taken = [job for each in claimed for job in each.jobs]
            if not taken:
                return delivered
            delivered += taken
            settled = [
                Settlement(job=job, state=state, detail="", now=self.now, erase_payload=True) for job in taken
            ]
            assert all(await self.db.write(partial(queue.settle, items=settled)))

    async def move_in(self, *people: User) -> None:
        await self.db.write(lambda tx: users.create(tx, [NewUser(each) for each in people]))

    async def log_in(self, user: User, **chosen: Any) -> Any:
        [opened] = await self.db.write(lambda tx: session_opening.open_or_renew(tx, [login(user, **chosen)]))
        return opened
