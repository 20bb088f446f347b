"""Sign-in by an enrollment token: an operator has vouched for who holds it, in a link or a QR code.

A token has 256 random bits and cannot be guessed. Wrong ones are counted all the same, by network: whoever
sends them by the million makes work and has nothing to lose. A right one is let in however many were wrong:
its neighbours share its address, and looking it up costs less than counting it.
"""

from collections.abc import Sequence
from typing import assert_never

import msgspec
import structlog

from admit.accounts import enrollment_tokens
from admit.accounts.apps import App
from admit.accounts.devices import DeviceSent
from admit.accounts.enrollment_tokens import Fault, Presented, Redeemable
from admit.accounts.keys import PublicKey
from admit.accounts.users import User
from admit.clock import Clock
from admit.errors import AdmitError, InvalidGrant, InvalidRequest, Refused, TokenOver
from admit.events.catalog import SignIn
from admit.signin.email_addresses import network_of
from admit.signin.limits import Limits, refusal, take, wants
from admit.signin.proof import scopes_of_person
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

METHOD = "enrollment_token"
PROVIDER = "operator"

NO_KEY = "public_key is missing. Send the device's RSA key in PEM."
UNKNOWN = "This link or code is not right. Ask for a new one."
USED = "This link or code has been used. Ask for a new one."
EXPIRED = "This link or code has expired. Ask for a new one."
REVOKED = "This link or code was taken back. Ask for a new one."
OTHER_DEVICE = "This link or code is for another device."
TOO_MANY = "Too many wrong enrollment tokens. Try again in {minutes} min."

log = structlog.get_logger("admit.signin")


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A token that opens, as it seems, for `user`. It is spent in the unit that opens a session."""

    presented: Presented
    user: User
    device: DeviceSent
    public_key: PublicKey
    scopes: tuple[str, ...]

    @property
    def sign_in(self) -> SignIn:
        """What events tell of it."""
        return SignIn(method=METHOD, provider=PROVIDER)


class EnrollmentTokens:
    """Checks tokens before they are spent, and counts those that there are not."""

    def __init__(self, db: Database, ring: KeyRing, clock: Clock, limits: Limits) -> None:
        self._db = db
        self._ring = ring
        self._clock = clock
        self._limits = limits

    async def check(
        self,
        app: App,
        token: str,
        *,
        device: DeviceSent,
        public_key: PublicKey | None,
        scopes: Sequence[str],
        address: str,
    ) -> Ticket:
        """The ticket that `token` is. Nothing is used by asking.

        Raises InvalidRequest, Forbidden for other scopes, RateLimited, and as `refusal_of` says.
        """
        granted = scopes_of_person(scopes)
        if public_key is None:
            raise InvalidRequest(NO_KEY)
        presented = Presented(
            app_id=app.app_id,
            digests=enrollment_tokens.digests_of(self._ring, token),
            key_thumbprint=public_key.thumbprint,
            device_id=device.id,
            now=self._clock(),
        )
        counted = wants(
            ("wrong-token-by", network_of(address), self._limits.wrong_enrollment_tokens_per_address)
        )
        found = await self._db.read(lambda tx: _look(tx, presented))
        if found == "unknown":
            wait = await self._db.write(lambda tx: take(tx, self._ring, app.app_id, counted, presented.now))
            if wait is not None:
                log.warning("enrollment_token.limited", app_id=app.app_id, address=address, wait_seconds=wait)
                raise refusal(TOO_MANY, wait)
        if not isinstance(found, User):
            log.warning("enrollment_token.refused", app_id=app.app_id, fault=found, address=address)
            raise refusal_of(found)
        return Ticket(presented=presented, user=found, device=device, public_key=public_key, scopes=granted)


def refusal_of(fault: Fault) -> AdmitError:
    """What the person is told: InvalidGrant, TokenOver or Refused."""
    match fault:
        case "unknown":
            return InvalidGrant(UNKNOWN)
        case "used":
            return TokenOver(USED)
        case "expired":
            return TokenOver(EXPIRED, code="token_expired")
        case "revoked":
            return TokenOver(REVOKED, code="token_revoked")
        case "other_device":
            return Refused(OTHER_DEVICE, code="other_device")
        case _:
            assert_never(fault)


def _look(tx: Transaction, presented: Presented) -> User | Fault:
    """Whose token it is, or what is wrong with it."""
    found = enrollment_tokens.examine(tx, presented)
    if not isinstance(found, Redeemable):
        return found
    return enrollment_tokens.holder_of(tx, found.token) or "unknown"
