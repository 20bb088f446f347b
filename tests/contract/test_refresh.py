"""Refreshes: only the key that signed in continues a session, and nobody ends one by asking wrongly."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from admit.accounts import session_opening, sessions, users
from admit.accounts.app_settings import AppSettings
from admit.accounts.apps import App, load_app
from admit.accounts.clients import create_client, revoke_client, rotate_client
from admit.accounts.session_opening import Opened, OpenSession
from admit.accounts.session_states import end
from admit.accounts.sessions import Session
from admit.accounts.tokens import Mint
from admit.accounts.users import NewUser, User, new_user
from admit.errors import AdmitError, Forbidden, InvalidGrant, InvalidRequest
from admit.signin.refresh import SIGNING_ALGORITHM, Refreshed, SignedRefresh, refresh
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from tests.contract.signin_desk import NOON, Device, SetClock, an_app, device

DAY_SECONDS = 86_400
REFRESH_UNTIL = NOON + 180 * DAY_SECONDS * 1_000


class Home:
    """Bob, enrolled on one device, with a refresh token."""

    def __init__(self, db: Database, ring: KeyRing, mint: Mint, clock: SetClock, app: App) -> None:
        self.db = db
        self.ring = ring
        self.mint = mint
        self.clock = clock
        self.app = app
        self.user: User
        self.session: Session
        self.token: str

    async def enroll(self, *, client_id: str | None = None, scopes: tuple[str, ...] = ("ACCESS_DB",)) -> None:
        self.user = new_user(
            app_id=self.app.app_id,
            user_id="bob@example.com",
            email="bob@example.com",
            email_verified=True,
            name="",
            type="eval",
            data=None,
            eval_days=30,
            way_in="email_code",
            now=self.clock(),
        )
        await self.db.write(lambda tx: users.create(tx, [NewUser(self.user)]) and None)
        await self.log_in(client_id=client_id, scopes=scopes, newcomer=True)
        self.token = self.mint.refresh(
            app_id=self.app.app_id, session_id=self.session.session_id, expires_at=REFRESH_UNTIL
        )

    async def log_in(
        self, *, client_id: str | None, scopes: tuple[str, ...] = ("ACCESS_DB",), newcomer: bool = False
    ) -> None:
        login = OpenSession(
            user=self.user,
            newcomer=newcomer,
            settings=AppSettings(),
            public_key=device().public_key,
            client_id=client_id,
            scopes=scopes,
            refresh_until=REFRESH_UNTIL,
            now=self.clock(),
        )
        (opened,) = await self.db.write(lambda tx: session_opening.open_or_renew(tx, [login]))
        assert isinstance(opened, Opened)
        self.session = opened.session

    def signed(
        self, *, by: Device | None = None, late_ms: int = 0, token: str | None = None
    ) -> SignedRefresh:
        token, time_stamp = token or self.token, self.clock() - late_ms
        return SignedRefresh(
            refresh_token=token,
            time_stamp=time_stamp,
            signing_algorithm=SIGNING_ALGORITHM,
            signature=(by or device()).sign(f"{token}{time_stamp}"),
            scopes=("ACCESS_DB",),
        )

    async def ask(self, request: SignedRefresh | None = None) -> Refreshed:
        return await refresh(self.db, self.mint, self.clock, self.app, request or self.signed())

    async def outcome(self, request: SignedRefresh | None = None) -> str:
        try:
            await self.ask(request)
        except AdmitError as error:
            return error.code
        return "accepted"

    async def reload(self) -> None:
        app = await self.db.read(lambda tx: load_app(tx, self.ring, self.app.app_id))
        assert app is not None
        self.app = app

    async def stored(self) -> Session | None:
        return await self.db.read(lambda tx: sessions.find(tx, self.app.app_id, self.session.session_id))


@pytest.fixture
async def home(database: Database, ring: KeyRing) -> AsyncIterator[Home]:
    """Bob at home."""
    clock = SetClock()
    mint = Mint(database, ring, clock, 3_600, 180)
    home = Home(database, ring, mint, clock, await an_app(database, ring))
    await home.enroll()
    yield home
    await mint.close()


async def test_the_key_that_signed_in_continues_the_session(home: Home) -> None:
    home.clock.pass_seconds(7 * DAY_SECONDS)
    refreshed = await home.ask()
    assert refreshed.user.user_id == "bob@example.com"
    assert refreshed.session.session_id == home.session.session_id
    assert refreshed.session.newest_stamp == home.clock()
    assert refreshed.scopes == ("ACCESS_DB",)


async def test_two_tabs_send_the_same_request_within_a_minute(home: Home) -> None:
    home.clock.pass_seconds(100)
    request = home.signed()
    assert await asyncio.gather(*(home.outcome(request) for _ in range(20))) == ["accepted"] * 20
    home.clock.pass_seconds(59)
    assert await home.outcome() == "accepted"
    assert await home.outcome(request) == "accepted"


async def test_a_recorded_request_is_worthless_once_the_session_has_gone_on(home: Home) -> None:
    home.clock.pass_seconds(100)
    recorded = home.signed()
    assert await home.outcome(recorded) == "accepted"
    home.clock.pass_seconds(60.001)
    assert await home.outcome() == "accepted"
    with pytest.raises(InvalidGrant, match="older than a refresh"):
        await home.ask(recorded)
    assert await home.outcome() == "accepted"


@pytest.mark.parametrize(
    ("late_ms", "outcome"),
    [(600_000, "accepted"), (600_001, "invalid_grant"), (-600_000, "accepted"), (-600_001, "invalid_grant")],
)
async def test_clocks_may_differ_by_ten_minutes(home: Home, late_ms: int, outcome: str) -> None:
    home.clock.pass_seconds(3_600)
    assert await home.outcome(home.signed(late_ms=late_ms)) == outcome


@pytest.mark.parametrize("time_stamp", [0, -1, 1_800_014_400, 2**63 - 1])
async def test_other_units_of_time_are_refused_with_a_sentence(home: Home, time_stamp: int) -> None:
    signature = device().sign(f"{home.token}{time_stamp}")
    with pytest.raises(InvalidGrant, match="10 minutes"):
        await home.ask(replace(home.signed(), time_stamp=time_stamp, signature=signature))


async def test_another_key_does_not_continue_the_session_and_does_not_end_it(home: Home) -> None:
    home.clock.pass_seconds(100)
    with pytest.raises(InvalidGrant):
        await home.ask(home.signed(by=device(2)))
    stored = await home.stored()
    assert stored is not None
    assert (stored.state, stored.newest_stamp) == ("ENROLLED", 0)
    assert await home.outcome() == "accepted"


async def test_a_signature_is_over_this_very_token_and_time(home: Home) -> None:
    request = home.signed()
    again = home.mint.refresh(
        app_id=home.app.app_id, session_id=home.session.session_id, expires_at=REFRESH_UNTIL
    )
    # The bytes do not say where the token ends; that the token is ours does.
    digits = str(request.time_stamp)
    for changes in (
        {"time_stamp": request.time_stamp + 1},
        {"refresh_token": again},
        {"refresh_token": home.token + digits[0], "time_stamp": int(digits[1:])},
        {"signature": ""},
        {"signature": "\ud800" * 344},
        {"refresh_token": ""},
        {"refresh_token": "\ud800"},
        {"refresh_token": home.token[:-1]},
    ):
        changed: dict[str, Any] = changes
        assert await home.outcome(replace(request, **changed)) == "invalid_grant"


@pytest.mark.parametrize("algorithm", ["none", "", "RSA256", "RS256", "rsassa-pkcs1-v1_5", "RSA-PSS", "HMAC"])
async def test_no_other_algorithm_is_spoken(home: Home, algorithm: str) -> None:
    with pytest.raises(InvalidRequest, match="RSASSA-PKCS1-v1_5"):
        await home.ask(replace(home.signed(), signing_algorithm=algorithm))


async def test_a_token_works_in_its_own_app_only(home: Home) -> None:
    home.app = await an_app(home.db, home.ring)
    assert await home.outcome() == "invalid_grant"


async def test_a_token_of_another_secret_key_is_refused(home: Home) -> None:
    stranger = Mint(home.db, KeyRing.parse("x" * 32), home.clock, 3_600, 180)
    token = stranger.refresh(
        app_id=home.app.app_id, session_id=home.session.session_id, expires_at=REFRESH_UNTIL
    )
    assert await home.outcome(home.signed(token=token)) == "invalid_grant"
    await stranger.close()


async def test_an_ended_or_unknown_session_does_not_go_on(home: Home) -> None:
    token = home.mint.refresh(app_id=home.app.app_id, session_id="ses_unknown", expires_at=REFRESH_UNTIL)
    assert await home.outcome(home.signed(token=token)) == "invalid_grant"
    ended = home.session.session_id
    assert await home.db.write(lambda tx: end(tx, home.app.app_id, ended, NOON, "logged_out"))
    assert await home.outcome() == "session_ended"


async def test_a_session_does_not_outlive_its_end(home: Home) -> None:
    home.clock.at = REFRESH_UNTIL - 1
    assert await home.outcome() == "accepted"
    home.clock.at = REFRESH_UNTIL
    assert await home.outcome() == "invalid_grant"


async def test_a_refresh_cannot_ask_for_more_than_the_login(home: Home) -> None:
    home.clock.pass_seconds(100)
    with pytest.raises(Forbidden):
        await home.ask(replace(home.signed(), scopes=("ACCESS_DB", "GLOBAL_READ")))
    stored = await home.stored()
    assert stored is not None
    assert stored.newest_stamp == 0
    assert (await home.ask(replace(home.signed(), scopes=()))).scopes == ("ACCESS_DB",)


async def test_what_a_client_vouched_for_dies_with_the_client(database: Database, ring: KeyRing) -> None:
    clock = SetClock()
    mint = Mint(database, ring, clock, 3_600, 180)
    app = await an_app(database, ring)
    client = await database.write(
        lambda tx: create_client(tx, ring, app.app_id, ["ACCESS_DB", "IMPERSONATE"], None, NOON)
    )
    home = Home(database, ring, mint, clock, app)
    await home.reload()
    await home.enroll(client_id=client.client_id)
    assert await home.outcome() == "accepted"

    clock.pass_seconds(1)
    await database.write(lambda tx: rotate_client(tx, ring, app.app_id, client.client_id, clock()))
    await home.reload()
    with pytest.raises(InvalidGrant, match="API client"):
        await home.ask()

    clock.pass_seconds(1)
    await home.log_in(client_id=client.client_id)
    assert await home.outcome() == "accepted"

    await database.write(lambda tx: revoke_client(tx, app.app_id, client.client_id, clock()))
    await home.reload()
    assert await home.outcome() == "invalid_grant"
    await mint.close()


async def test_the_log_knows_why_but_neither_token_nor_signature(home: Home) -> None:
    request, forged = home.signed(), home.signed(by=device(2))
    with capture_logs() as lines:
        await home.outcome(request)
        await home.outcome(forged)
    assert [line["event"] for line in lines] == ["refresh.accepted", "refresh.refused"]
    assert lines[1]["reason"] == "signature"
    for secret in (home.token, request.signature, forged.signature):
        assert secret not in str(lines)
    assert home.token not in repr(request)
