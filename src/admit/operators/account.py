"""What signed-in operators change of their own: name, passkeys, password.

What lets them in may be changed soon after they have proved who they are, else `again` is raised: a browser
that was left open gives nobody a way in that lasts.
"""

from admit import clock
from admit.clock import Clock
from admit.errors import Forbidden, InvalidRequest
from admit.operators import ceremonies, challenges, passkeys, people, sessions, sessions_ended
from admit.operators.ceremonies import Holder, RelyingParty
from admit.operators.passwords import Passwords
from admit.operators.sessions import SignedIn
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

AGAIN = "sign_in_again"
NOT_RECENT = "Sign in once more to change what lets you in: it is more than 10 minutes ago that you did."


def require_recent(signed_in: SignedIn, now: int) -> None:
    """Raises Forbidden (`sign_in_again`) unless an operator has just proved who they are."""
    if not signed_in.recent(now):
        raise Forbidden(NOT_RECENT, code=AGAIN)


class Account:
    """Changes of operators to themselves."""

    def __init__(
        self, db: Database, ring: KeyRing, clock: Clock, passwords: Passwords, public_url: str
    ) -> None:
        self._db = db
        self._ring = ring
        self._clock = clock
        self._passwords = passwords
        self._party = RelyingParty.of(public_url)

    async def passkeys(self, signed_in: SignedIn) -> list[passkeys.Passkey]:
        """Their passkeys, oldest first."""
        return await self._db.read(lambda tx: passkeys.list_passkeys(tx, signed_in.operator.operator_id))

    async def rename(self, signed_in: SignedIn, name: str) -> None:
        """Gives themselves a name. Raises InvalidRequest."""
        told = people.parse_name(name)
        await self._db.write(lambda tx: people.set_name(tx, signed_in.operator.operator_id, told))

    async def set_password(self, signed_in: SignedIn, password: str) -> None:
        """Sets a password; their other sessions end. Raises InvalidRequest, Unavailable and Forbidden."""
        require_recent(signed_in, self._clock())
        digest = await self._passwords.digest(password)

        def unit(tx: Transaction) -> None:
            sessions.require_alive(tx, signed_in.session_id, self._clock())
            people.set_password(tx, signed_in.operator.operator_id, digest)
            sessions_ended.end_all(tx, signed_in.operator.operator_id, keep=signed_in.session_id)

        await self._db.write(unit)

    async def passkey_options(self, signed_in: SignedIn) -> str:
        """What the browser is to be asked to make a passkey, as JSON. Raises Forbidden."""
        now, operator = self._clock(), signed_in.operator
        require_recent(signed_in, now)
        known = await self.passkeys(signed_in)
        holder = Holder(
            operator.operator_id, operator.email, operator.name, tuple(each.credential_id for each in known)
        )
        challenge = clock.new_secret()
        of = _of(signed_in)
        await self._db.write(lambda tx: challenges.add(tx, self._ring, challenge, of, "", now))
        return ceremonies.options_to_make(self._party, holder, challenge)

    async def add_passkey(self, signed_in: SignedIn, credential: str, name: str) -> None:
        """Keeps a passkey that was just made. Raises InvalidRequest, Conflict and Forbidden."""
        now = self._clock()
        require_recent(signed_in, now)
        told = people.parse_name(name)
        challenge = ceremonies.challenge_in(credential)
        of = _of(signed_in)
        if await self._db.write(lambda tx: challenges.spend(tx, self._ring, challenge, of, now)) is None:
            raise InvalidRequest(ceremonies.REFUSED)
        new = ceremonies.made(self._party, credential, challenge)

        def unit(tx: Transaction) -> None:
            sessions.require_alive(tx, signed_in.session_id, now)
            passkeys.add(tx, signed_in.operator.operator_id, new, told, now)

        await self._db.write(unit)

    async def remove_passkey(self, signed_in: SignedIn, passkey_id: str) -> None:
        """Forgets a passkey. Raises NotFound, Conflict for the only way in, and Forbidden."""
        require_recent(signed_in, self._clock())
        await self._db.write(lambda tx: passkeys.remove(tx, signed_in.operator.operator_id, passkey_id))


def _of(signed_in: SignedIn) -> str:
    return f"passkey:{signed_in.session_id}"
