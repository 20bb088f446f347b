"""Making the RSA keys of apps, outside of units: it takes a while."""

import asyncio
from functools import partial

from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.webhooks import journey_keys


async def ensure_key(db: Database, ring: KeyRing, app_id: str, now: int) -> None:
    """Sees to it that the app has a key. `now` (UTC ms) is when it begins to sign, if it is new."""
    if not await db.read(partial(journey_keys.has_key, app_id=app_id)):
        private = await asyncio.to_thread(journey_keys.new_private_key)
        add = partial(journey_keys.add_first, ring=ring, app_id=app_id, private=private, now=now)
        await db.write(add)


async def rotate(db: Database, ring: KeyRing, app_id: str, now: int) -> None:
    """Gives the app a new key; see `journey_keys.rotate`."""
    private = await asyncio.to_thread(journey_keys.new_private_key)
    await db.write(partial(journey_keys.rotate, ring=ring, app_id=app_id, private=private, now=now))
