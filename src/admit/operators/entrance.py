"""How operators come in: by a one-time link, a passkey, a password, or a provider that vouches for them.

Whoever does not get in is told one sentence, whatever the cause; the log says no email either.
"""

import msgspec
import structlog

from admit import clock
from admit.clock import Clock
from admit.errors import AdmitError, InvalidRequest, RateLimited, Unauthorized
from admit.operators import ceremonies, challenges, links, passkeys, people, sessions, sessions_ended
from admit.operators.ceremonies import Holder, NewPasskey, RelyingParty
from admit.operators.links import Link
from admit.operators.passwords import Passwords
from admit.operators.sessions import Method
from admit.signin.email_addresses import network_of, normalise_email
from admit.signin.limits import Limits, Want, give_back, refusal, take, wants
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

SIGN_IN_FAILED = "sign_in_failed"
FAILED = "That did not let you in. Check what you typed, or use another way."
TOO_MANY = "Too many tries. Try again in {minutes} min, or use a passkey."
NOTHING_CHOSEN = "Make a passkey, choose a password, or do both: you will need one to come back."
EVERYWHERE = ""
"""In place of an app: operators belong to none."""
FIRST_PASSKEY = "First passkey"

log = structlog.get_logger("admit.operators")


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """From where somebody comes. `visit`: the browser's own, before anybody is signed in.

    `replaces`: the session that this browser had, which ends when a new one begins.
    """

    visit: str
    address: str
    user_agent: str
    replaces: str = ""


class SetUp(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody with a link tells. `email` counts for the first owner alone."""

    name: str
    email: str
    password: str
    credential: str


class Entrance:
    """Lets operators in."""

    def __init__(
        self, db: Database, ring: KeyRing, clock: Clock, limits: Limits, passwords: Passwords, public_url: str
    ) -> None:
        self._db = db
        self._ring = ring
        self._clock = clock
        self._limits = limits
        self._passwords = passwords
        self.party = RelyingParty.of(public_url)

    async def by_password(self, email: str, password: str, came: Came) -> str:
        """The cookie of a new session. Raises Unauthorized, RateLimited and Unavailable."""
        normalised = _normalised(email)
        counted = self._password_tries(normalised or email.strip().lower(), came.address)
        await self._count(counted)
        operator_id, digest = await self._db.read(lambda tx: people.password_of(tx, normalised))
        if not await self._passwords.matches(digest, password):
            raise self._failed("password", came)
        newer = await self._passwords.digest(password) if self._passwords.is_old(digest) else ""

        def let_in(tx: Transaction) -> str | None:
            now = self._clock()
            if people.password_of(tx, normalised) != (operator_id, digest):
                return None  # changed or sent away while we were comparing
            give_back(tx, self._ring, EVERYWHERE, counted, now)
            if newer:
                people.set_password(tx, operator_id, newer)
            return self._open(tx, operator_id, "password", came, now)

        return self._welcome(await self._db.write(let_in), operator_id, "password", came)

    async def passkey_options(self, came: Came) -> str:
        """What the browser is to be asked for a passkey, as JSON. Raises RateLimited."""
        await self._count(self._challenges(came.address))
        challenge = _new_challenge()
        holder, now = f"sign-in:{came.visit}", self._clock()
        await self._db.write(lambda tx: challenges.add(tx, self._ring, challenge, holder, "", now))
        return ceremonies.options_to_use(self.party, challenge)

    async def by_passkey(self, credential: str, came: Came) -> str:
        """The cookie of a new session. Raises Unauthorized."""
        try:
            challenge = ceremonies.challenge_in(credential)
            credential_id = ceremonies.credential_id_in(credential)
        except InvalidRequest:
            raise self._failed("passkey", came) from None
        holder = f"sign-in:{came.visit}"
        asked = await self._db.write(
            lambda tx: challenges.spend(tx, self._ring, challenge, holder, self._clock())
        )
        known = await self._db.read(lambda tx: passkeys.find(tx, credential_id))
        if asked is None or known is None:
            raise self._failed("passkey", came)
        try:
            sign_count = ceremonies.used(self.party, credential, challenge, known)
        except InvalidRequest:
            raise self._failed("passkey", came) from None

        def let_in(tx: Transaction) -> str | None:
            now = self._clock()
            if passkeys.find(tx, credential_id) != known or not passkeys.note_use(tx, known, sign_count, now):
                return None
            return self._open(tx, known.operator_id, "passkey", came, now)

        return self._welcome(await self._db.write(let_in), known.operator_id, "passkey", came)

    async def begin_vouching(self, details: str, came: Came) -> str:
        """The state of a sign-in at a provider, which keeps `details` sealed. Raises RateLimited."""
        await self._count(self._challenges(came.address))
        state, now = _new_challenge(), self._clock()
        sealed = self._ring.seal(details, _place(state))
        await self._db.write(
            lambda tx: challenges.add(tx, self._ring, state, f"sso:{came.visit}", sealed, now)
        )
        return state

    async def end_vouching(self, state: str, came: Came) -> str | None:
        """The details of a sign-in that comes back, once. None: it is over, or of another browser."""
        now, holder = self._clock(), f"sso:{came.visit}"
        sealed = await self._db.write(lambda tx: challenges.spend(tx, self._ring, state, holder, now))
        return None if sealed is None else self._ring.unseal(sealed, _place(state))

    async def by_vouching(self, email: str, came: Came) -> str:
        """The cookie of a new session of whom OPERATOR_SSO vouches for. Raises Unauthorized."""

        def let_in(tx: Transaction) -> tuple[str | None, str]:
            operator = people.find(tx, email)
            if operator is None or not operator.active:
                return None, ""
            cookie = self._open(tx, operator.operator_id, "sso", came, self._clock())
            return cookie, operator.operator_id

        cookie, operator_id = await self._db.write(let_in)
        return self._welcome(cookie, operator_id, "sso", came)

    async def nobody_there(self) -> bool:
        """Whether nobody has been set up yet."""
        return await self._db.read(people.none_joined)

    async def link(self, token: str) -> Link:
        """The link with `token`. Raises TokenOver."""
        return await self._db.read(lambda tx: links.find(tx, self._ring, token, self._clock()))

    async def options_of_link(self, token: str, email: str, name: str, came: Came) -> str:
        """What the browser is to be asked to make a passkey, as JSON. Raises TokenOver and InvalidRequest."""
        link = await self.link(token)
        operator = link.operator
        if operator is None:
            holder = Holder(clock.new_id("opr"), normalise_email(email), name.strip())
        else:
            known = await self._db.read(lambda tx: passkeys.list_passkeys(tx, operator.operator_id))
            ids = tuple(each.credential_id for each in known)
            holder = Holder(operator.operator_id, operator.email, name.strip(), ids)
        challenge = _new_challenge()
        of, now = f"link:{link.link_id}:{came.visit}", self._clock()
        await self._db.write(
            lambda tx: challenges.add(tx, self._ring, challenge, of, holder.operator_id, now)
        )
        return ceremonies.options_to_make(self.party, holder, challenge)

    async def set_up(self, token: str, told: SetUp, came: Came) -> str:
        """Uses a link up and lets its holder in: the cookie of a new session. Raises AdmitError.

        Sessions of before end. What was refused has not used the link up, but a passkey has to be made anew.
        """
        link = await self.link(token)
        name = people.parse_name(told.name)
        email = normalise_email(told.email) if link.operator is None else link.operator.email
        if not told.password and not told.credential:
            raise InvalidRequest(NOTHING_CHOSEN)
        digest = await self._passwords.digest(told.password) if told.password else ""
        passkey, made_for = await self._made_with(link, told.credential, came)

        def unit(tx: Transaction) -> tuple[str, str]:
            now = self._clock()
            spent = links.spend(tx, self._ring, token, now)
            operator = spent.operator or people.first_owner(tx, email, now, made_for or clock.new_id("opr"))
            people.join(tx, operator.operator_id, name, now)
            if digest:
                people.set_password(tx, operator.operator_id, digest)
            if passkey is not None:
                passkeys.add(tx, operator.operator_id, passkey, FIRST_PASSKEY, now)
            sessions_ended.end_all(tx, operator.operator_id)
            return self._open(tx, operator.operator_id, "link", came, now), operator.operator_id

        cookie, operator_id = await self._db.write(unit)
        return self._welcome(cookie, operator_id, "link", came)

    async def _made_with(self, link: Link, credential: str, came: Came) -> tuple[NewPasskey | None, str]:
        """The passkey that was made with a link, and the operator's id that it was made for."""
        if not credential:
            return None, ""
        challenge = ceremonies.challenge_in(credential)
        of = f"link:{link.link_id}:{came.visit}"
        made_for = await self._db.write(
            lambda tx: challenges.spend(tx, self._ring, challenge, of, self._clock())
        )
        if made_for is None:
            raise InvalidRequest(ceremonies.REFUSED)
        return ceremonies.made(self.party, credential, challenge), made_for

    def _open(self, tx: Transaction, operator_id: str, method: Method, came: Came, now: int) -> str:
        if came.replaces:
            sessions.end_session(tx, came.replaces)
        return sessions.open_session(
            tx,
            self._ring,
            operator_id,
            method=method,
            address=came.address,
            user_agent=came.user_agent,
            now=now,
        )

    def _welcome(self, cookie: str | None, operator_id: str, method: Method, came: Came) -> str:
        if cookie is None:
            raise self._failed(method, came)
        log.info("operator.signed_in", operator_id=operator_id, method=method, address=came.address)
        return cookie

    def _failed(self, method: Method, came: Came) -> AdmitError:
        log.warning("operator.sign_in_failed", method=method, address=came.address)
        return Unauthorized(FAILED, code=SIGN_IN_FAILED)

    async def _count(self, counted: list[Want]) -> None:
        """Raises RateLimited where one of `counted` is over its limit."""
        if not counted:
            return

        def unit(tx: Transaction) -> RateLimited | None:
            wait = take(tx, self._ring, EVERYWHERE, counted, self._clock())
            return None if wait is None else refusal(TOO_MANY, wait)

        if (refused := await self._db.write(unit)) is not None:
            raise refused

    def _password_tries(self, email: str, address: str) -> list[Want]:
        limits, network = self._limits, network_of(address)
        return wants(
            ("operator-password-from", network, limits.wrong_operator_passwords_per_address),
            ("operator-password-of", email, limits.wrong_operator_passwords_per_operator),
            (
                "operator-password-of-from",
                f"{email} {network}",
                limits.wrong_operator_passwords_per_operator_and_network,
            ),
        )

    def _challenges(self, address: str) -> list[Want]:
        limit = self._limits.operator_challenges_per_address
        return wants(("operator-challenge-from", network_of(address), limit))


def _normalised(email: str) -> str:
    """The normalised email; "" for what is none, which is nobody's."""
    try:
        return normalise_email(email)
    except InvalidRequest:
        return ""


def _place(state: str) -> str:
    return f"operator_challenges.details/{state}"


def _new_challenge() -> str:
    """32 random bytes in base64url, as WebAuthn writes them."""
    return clock.new_secret()
