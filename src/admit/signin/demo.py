"""Sign-in as a demo user: anybody may, for a demo user is nobody. Only the API makes demo users.

contracts/dexie-cloud.md §2: no proof; the address ends in `@demo.local`.
"""

from collections.abc import Sequence

import structlog

from admit.accounts.apps import App
from admit.accounts.keys import PublicKey
from admit.clock import Clock
from admit.errors import InvalidRequest
from admit.signin.email_addresses import is_demo, network_of, normalise_email
from admit.signin.limits import Limits, refusal, take, wants
from admit.signin.proof import Visit, scopes_of_person
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

NOT_DEMO = "demo_user is an address that ends in @demo.local."
NO_KEY = "public_key is missing. Send the device's RSA key in PEM."
TOO_MANY = "Too many demo sign-ins. Try again in {minutes} min."

log = structlog.get_logger("admit.signin")


class DemoUsers:
    """Counts demo sign-ins: each leaves a session behind, and needs no proof."""

    def __init__(self, db: Database, ring: KeyRing, clock: Clock, limits: Limits) -> None:
        self._db = db
        self._ring = ring
        self._clock = clock
        self._limits = limits

    async def visit(
        self, app: App, demo_user: str, public_key: PublicKey | None, scopes: Sequence[str], address: str
    ) -> Visit:
        """The visit as `demo_user`. Raises InvalidRequest, RateLimited, and Forbidden for other scopes."""
        granted = scopes_of_person(scopes)
        if public_key is None:
            raise InvalidRequest(NO_KEY)
        typed = demo_user.strip()
        normalised = normalise_email(typed)
        if not is_demo(normalised):
            raise InvalidRequest(NOT_DEMO)
        counted = wants(
            ("demo-by", network_of(address), self._limits.demo_logins_per_address),
            ("demo-of", "app", self._limits.demo_logins_per_app),
        )
        now = self._clock()
        wait_seconds = await self._db.write(lambda tx: take(tx, self._ring, app.app_id, counted, now))
        if wait_seconds is not None:
            log.warning("demo.limited", app_id=app.app_id, address=address, wait_seconds=wait_seconds)
            raise refusal(TOO_MANY, wait_seconds)
        user_ids = tuple(dict.fromkeys((typed, normalised)))
        return Visit(method="demo", user_ids=user_ids, public_key=public_key, scopes=granted, address=address)
