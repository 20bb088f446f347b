"""A server dies between any two steps of telling a change hook: each change arrives, in order, as it was."""

import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from admit import clock
from admit.accounts import apps
from admit.accounts.apps import App, NameTaken
from admit.config import Settings
from admit.data import announcing
from admit.data.announcing import PUBLIC, Changed, Listening
from admit.data.authors import Author
from admit.gateway import Gateway
from admit.jobs.tables import jobs
from admit.outbound import signing
from admit.webhooks import endpoints
from admit.webhooks.change_delivery import KIND
from admit.webhooks.endpoint_settings import SettingsChange
from tests.crash import forked_server
from tests.crash.test_deliveries_crash import CALM_SECONDS, WAIT_SECONDS, died, installed, server
from tests.installation import Installation
from tests.receiver import Receiver, always, receiving

KILLS = 6


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Installation:
    return installed(tmp_path, database_url)


async def hooked(installation: Installation, told: Receiver) -> App:
    """An app with a change hook, and no server yet: a file belongs to one process."""
    gateway = await Gateway.open(Settings.load(installation.environment), serve_address=None)
    try:
        app = await gateway.db.write(
            partial(
                apps.create_app,
                ring=gateway.ring,
                name="notes",
                owner="owner@example.com",
                user_ids="email",
                now=clock.now(),
            )
        )
        assert not isinstance(app, NameTaken)
        made, secret = SettingsChange(url=told.url, format="dexie"), signing.new_secret()
        await gateway.db.write(
            lambda tx: endpoints.create(tx, gateway.ring, app.app_id, made, secret, clock.now())
        )
        return app
    finally:
        await gateway.close()


async def change(installation: Installation, app: App, *keys: str) -> None:
    """Changes public objects while no server runs."""
    gateway = await Gateway.open(Settings.load(installation.environment), serve_address=None)
    try:
        for key in keys:
            made = Changed(
                app_id=app.app_id,
                realm=PUBLIC,
                realm_id=PUBLIC,
                author=Author(uid=None, user_id=""),
                table="todos",
                key=key,
                type="upsert",
                value={"id": key},
                before=None,
                now=clock.now(),
            )
            listening = {app.app_id: Listening(tells=True)}
            await gateway.db.write(partial(announcing.announce, changes=[made], listening=listening))
    finally:
        await gateway.close()


async def all_done(installation: Installation) -> None:
    """Waits until no job of a change hook is unfinished."""
    query = select(jobs.c.state, jobs.c.detail).where(jobs.c.kind == KIND, jobs.c.finished_at.is_(None))
    give_up_at = time.monotonic() + WAIT_SECONDS
    while left := await asyncio.to_thread(installation.rows, query):
        assert time.monotonic() < give_up_at, left
        await asyncio.sleep(0.05)


def bodies_of(told: Receiver) -> dict[str, bytes]:
    """What was sent under each id, which is the same each time."""
    bodies: dict[str, bytes] = {}
    for call in told.calls:
        assert bodies.setdefault(call.headers["webhook-id"], call.body) == call.body
    return bodies


def keys_of(bodies: dict[str, bytes]) -> list[str]:
    return [each["key"] for body in bodies.values() for each in json.loads(body)["changes"]]


async def test_changes_survive_a_death_at_each_step(installation: Installation) -> None:
    """A server dies at the first moment, is started again, dies at the next one, and so on. In between more
    is changed, of which the body that was begun says nothing."""
    numbers = map(str, range(100))
    async with receiving(always(200)) as told:
        app = await hooked(installation, told)
        changed = await changed_twice(installation, app, numbers)
        moments = [f"{when}:{step}" for step in ("claim", "gather", "tell") for when in ("before", "after")]
        for moment in (*moments, "before:delivered"):
            async with server(installation, CALM_SECONDS, moment) as process:
                await asyncio.to_thread(process.join, WAIT_SECONDS)
                died(process)
            changed += await changed_twice(installation, app, numbers)
        # It was told after `tell` and before `delivered`: once as it was then, and once more the same.
        assert len(told.calls) == 2
        begun = bodies_of(told)
        async with server(installation, CALM_SECONDS, "after:delivered") as process:
            await asyncio.to_thread(process.join, WAIT_SECONDS)
            died(process)
        assert bodies_of(told) == begun
        async with server(installation, CALM_SECONDS) as process:
            await all_done(installation)
            forked_server.stop(process)

    bodies = bodies_of(told)
    assert len(bodies) == 2
    assert keys_of(bodies) == changed


async def changed_twice(installation: Installation, app: App, numbers: Iterator[str]) -> list[str]:
    keys = [next(numbers), next(numbers)]
    await change(installation, app, *keys)
    return keys
