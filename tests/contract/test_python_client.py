"""The Python client against a server: who is signed in, what is kept, how a session ends on both sides."""

import asyncio
import platform
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from admit import clock
from admit.accounts import session_states
from admit.accounts.devices import device_of
from admit.accounts.tables import devices
from admit.client import (
    AdmitClient,
    AsyncAdmitClient,
    CannotReach,
    CurrentUser,
    DeviceInfo,
    NotSignedIn,
    ReauthenticationRequired,
    Refusal,
    SessionEnded,
    SessionLocked,
    SessionWiped,
    WipeFailed,
    WrongCode,
)
from tests.contract.client_desk import ADA, BOB, Home, becomes, line_to
from tests.contract.served import Served, serving
from tests.contract.token_desk import code_mailed_to, events_of

HOUR_MS = clock.HOUR_MS


@pytest.fixture
async def home(served: Served, tmp_path: Path) -> Home:
    """A machine, on each kind of database."""
    await served.app()
    return Home(served, tmp_path / "kept")


@pytest.fixture
async def one_home(door: Served, tmp_path: Path) -> Home:
    """A machine, for what the database has no part in."""
    await door.app()
    return Home(door, tmp_path / "kept")


async def test_a_mailed_code_signs_in_and_subscribers_hear_of_it(home: Home) -> None:
    app = await home.served.gateway.directory.app("notes")
    await home.served.write(app, {"userId": ADA, "type": "prod", "data": {"displayName": "Ada", "team": 1}})
    async with home.client() as client:
        heard: list[CurrentUser | None] = []
        client.current_user.subscribe(heard.append)
        user = await home.sign_in(client)

        assert heard == [None, user]
        assert (user.user_id, user.name, user.email) == (ADA, "Ada", ADA)
        assert user.data == {"displayName": "Ada", "team": 1}
        assert (user.license.type, user.license.status) == ("prod", "ok")
        checked = await home.served.ask(
            "GET", "/notes/token/validate", headers={"Authorization": f"Bearer {await client.access_token()}"}
        )
        assert checked.json["claims"]["sub"] == ADA


async def test_the_next_process_goes_on_without_a_sign_in(home: Home) -> None:
    async with home.client() as client:
        user = await home.sign_in(client)
        device_id = await client.device_id()
    before = await home.session()

    async with home.client() as client:
        assert client.current_user.value == user
        assert await client.device_id() == device_id
        assert (await client.refresh()).user_id == ADA
    after = await home.session()
    assert (after.session_id, after.device_id, after.ordinal) == (before.session_id, device_id, 1)
    assert after.newest_stamp > before.newest_stamp


async def test_signed_out_and_in_again_it_is_the_same_device_and_the_second_session(home: Home) -> None:
    async with home.client() as client:
        await home.sign_in(client)
        device_id = await client.device_id()
        await client.sign_out()
        assert client.current_user.value is None
        with pytest.raises(NotSignedIn):
            await client.access_token()
        assert (await home.session()).reason == "logged_out"
    async with home.client() as client:
        await home.sign_in(client)

    first, second = await home.sessions()
    assert [first.ordinal, second.ordinal] == [1, 2]
    assert {first.device_id, second.device_id} == {device_id}
    app = await home.served.gateway.directory.app("notes")
    [_, started] = [
        data for kind, data in await events_of(home.served, app.app_id) if kind == "session.started"
    ]
    assert "key_changed" not in started["device"]


async def test_the_operator_is_told_what_the_device_runs_and_no_name_of_the_machine(home: Home) -> None:
    async with home.client(device=DeviceInfo(app_version="2.1", bundle_id="com.example.notes")) as client:
        await home.sign_in(client)
    seen = await home.served.gateway.db.read(lambda tx: device_of(tx.execute(devices.select()).one()))
    assert (seen.device_id, seen.derived) == (home.kept().device_id, False)
    assert (seen.label, seen.about.platform) == (DeviceInfo().label, DeviceInfo().platform)
    assert (seen.about.app_version, seen.about.bundle_id) == ("2.1", "com.example.notes")
    ids = {"app_id", "uid", "device_id", "key_thumbprint"}
    assert not any(platform.node() in f"{getattr(seen, name)}" for name in set(seen.__struct_fields__) - ids)


async def test_a_wrong_code_may_be_typed_again_and_a_refusal_says_why(one_home: Home) -> None:
    async with one_home.client() as client:
        sent = await client.send_code(ADA)
        with pytest.raises(WrongCode) as wrong:
            await client.sign_in_with_code(sent, "00000000")
        assert (wrong.value.code, wrong.value.status) == ("INVALID_OTP", 401)
        code = await code_mailed_to(one_home.served, ADA)
        await client.sign_in_with_code(msgspec.convert(msgspec.to_builtins(sent), type(sent)), f" {code}\n")

        unknown = await client.send_code(BOB, intent="login")
        with pytest.raises(Refusal) as refused:
            await client.sign_in_with_code(unknown, await code_mailed_to(one_home.served, BOB))
        assert (refused.value.code, refused.value.status) == ("USER_NOT_REGISTERED", 403)
        assert client.current_user.value is not None
        assert client.current_user.value.user_id == ADA


async def test_an_enrollment_link_signs_in_once(home: Home) -> None:
    app = await home.served.gateway.directory.app("notes")
    await home.served.write(app, {"userId": ADA, "type": "prod"})
    made = await home.served.ask(
        "POST", f"/api/apps/notes/users/{ADA}/enrollment-tokens", json={}, headers=home.served.command()
    )
    async with home.client() as client:
        assert (await client.sign_in_with_link(made.json["url"])).user_id == ADA
        again = await client.sign_in_with_link(made.json["token"])  # as after an answer that was lost
        assert again.claims["sid"] == (await home.session()).session_id
    async with Home(home.served, home.folder / "elsewhere").client() as client:
        with pytest.raises(Refusal) as refused:
            await client.sign_in_with_link(made.json["url"])
    assert (refused.value.code, refused.value.status) == ("token_used", 410)


async def test_an_api_client_vouches_for_a_person_or_gets_a_token_for_itself(one_home: Home) -> None:
    app = await one_home.served.gateway.directory.app("notes")
    known = await one_home.served.client(app)
    scopes = ("ACCESS_DB", "GLOBAL_READ")
    async with one_home.client() as client:
        token = await client.client_token(known.client_id, known.client_secret, scopes=scopes)
        assert client.current_user.value is None
        assert list(one_home.folder.glob("*.json")) == []
        people = await one_home.served.ask(
            "GET", "/notes/users", headers={"Authorization": f"Bearer {token.access_token}"}
        )
        assert (people.status, token.scopes) == (200, scopes)

        user = await one_home.vouched(client)
        assert (user.user_id, user.name) == (ADA, "ada")
        assert (await client.refresh()).user_id == ADA


async def test_anybody_may_be_a_demo_user(one_home: Home) -> None:
    app = await one_home.served.gateway.directory.app("notes")
    await one_home.served.write(app, {"userId": "foo@demo.local", "type": "demo"})
    async with one_home.client() as client:
        assert (await client.sign_in_as_demo("foo@demo.local")).license.type == "demo"
        assert (await client.refresh()).user_id == "foo@demo.local"


async def test_it_refreshes_by_itself_before_the_access_token_ends(served_url: str, tmp_path: Path) -> None:
    async with serving(served_url, access_token_seconds="5") as served:
        app = await served.app()
        home = Home(served, tmp_path)
        async with home.client() as client:
            first = await home.sign_in(client)
            token = await client.access_token()
            await served.write(app, {"userId": ADA, "data": {"plan": "gold"}})
            later = await becomes(client.current_user, lambda user: user != first)
            assert later is not None
            assert later.data == {"plan": "gold"}
            assert await client.access_token() != token
            assert client.problem.value is None


@pytest.mark.parametrize("hours", [-30, 30])
async def test_a_machine_with_a_wrong_clock_takes_the_time_of_the_server(home: Home, hours: int) -> None:
    def wrong() -> int:
        return clock.now() + hours * HOUR_MS

    async with home.client(clock=wrong) as client:
        await home.sign_in(client)
        token = await client.access_token()
        assert (await client.refresh()).user_id == ADA
    async with home.client(clock=wrong) as client:
        assert await client.access_token() != token  # that of the refresh, which is good for an hour
        renewed = await client.access_token()
        assert await client.access_token() == renewed
        await client.sign_out()
    assert (await home.session()).reason == "logged_out"


async def test_a_clock_that_was_set_back_is_noticed_by_the_refusal(home: Home) -> None:
    async with home.client() as client:
        await home.sign_in(client)
    async with home.client(clock=lambda: clock.now() - 30 * HOUR_MS) as client:
        assert (await client.refresh()).user_id == ADA
        await client.sign_out()
    assert (await home.session()).reason == "logged_out"


async def test_a_clock_that_stands_still_signs_no_time_twice(home: Home) -> None:
    at = clock.now()
    async with home.client(clock=lambda: at) as client:
        await home.sign_in(client)
        await client.refresh()
        await client.sign_out()
    assert (await home.session()).reason == "logged_out"


async def test_a_locked_session_waits_and_an_unlocked_one_goes_on(home: Home) -> None:
    async with home.client() as client:
        await home.sign_in(client)
        await home.write(session_states.lock)
        with pytest.raises(SessionLocked) as locked:
            await client.refresh()
        assert locked.value.code == "session_locked"
        assert client.problem.value is locked.value
        assert client.current_user.value is not None
        await home.write(session_states.unlock)
        assert (await client.refresh()).user_id == ADA
        assert client.problem.value is None


async def test_who_has_to_sign_in_again_goes_on_in_the_same_session(home: Home) -> None:
    async with home.client() as client:
        await home.sign_in(client)
        await home.write(session_states.reauthenticate)
        with pytest.raises(ReauthenticationRequired):
            await client.refresh()
        await home.sign_in(client)
        assert client.problem.value is None
    assert (await home.session()).state == "ENROLLED"


async def test_a_session_that_was_ended_elsewhere_is_forgotten_here(home: Home) -> None:
    async with home.client() as client:
        await home.sign_in(client)
        await home.write(session_states.end, "logged_out")
        with pytest.raises(SessionEnded):
            await client.refresh()
        assert client.current_user.value is None
        with pytest.raises(NotSignedIn):
            await client.access_token()
        assert isinstance(client.problem.value, SessionEnded)
    assert home.kept().session is None


async def test_a_wiped_device_erases_what_it_keeps_and_says_so(home: Home) -> None:
    erased: list[Any] = []
    async with home.client(on_wipe=lambda: erased.append(home.kept())) as client:
        await home.sign_in(client)
        token, device_id = home.kept().session, await client.device_id()
        assert token is not None
        await home.write(session_states.wipe)
        with pytest.raises(SessionWiped):
            await client.refresh()

        [during] = erased
        assert during.session is None
        assert client.current_user.value is None
        assert home.kept().device_id == device_id
        assert home.kept().private_key is None
        assert token.refresh_token not in next(home.folder.glob("*.json")).read_text()
        session = await home.session()
        assert (session.state, session.wiped_at is not None) == ("RESET", True)

        await home.sign_in(client)
        _, second = await home.sessions()
        assert (second.device_id, second.ordinal) == (device_id, 2)


async def test_a_wipe_that_did_not_work_is_not_confirmed_until_it_does(home: Home) -> None:
    calls: list[str] = []

    async def fails() -> None:
        calls.append("failed")
        raise OSError("the disk is read-only")

    async with home.client(on_wipe=fails) as client:
        await home.sign_in(client)
        await home.write(session_states.wipe)
        with pytest.raises(WipeFailed, match="OSError"):
            await client.refresh()
        with pytest.raises(WipeFailed):
            await home.vouched(client, BOB)
        assert client.current_user.value is None
        assert (await home.session()).wiped_at is None

    async with home.client(on_wipe=lambda: calls.append("done")) as client:
        await home.vouched(client, BOB)  # nobody comes before what the last one left is gone
        assert calls[-1] == "done"
        assert client.problem.value is None
    first, _ = await home.sessions()
    assert first.wiped_at is not None


async def test_signing_out_needs_no_server_who_is_told_later(home: Home) -> None:
    async with line_to(home.served.url) as line:
        home.address = line.url
        async with home.client() as client:
            await home.sign_in(client)
            line.cut()
            await client.sign_out()
            assert client.current_user.value is None
            with pytest.raises(CannotReach):
                await client.send_code(ADA)
        assert (await home.session()).state == "ENROLLED"

        line.broken = False
        async with home.client() as client:
            await home.sign_in(client)
        first, second = await home.sessions()
        assert (first.reason, second.state) == ("logged_out", "ENROLLED")


async def test_a_token_is_good_to_its_end_while_the_server_is_away(home: Home) -> None:
    ahead_ms = 0
    async with line_to(home.served.url) as line:
        home.address = line.url
        async with home.client(clock=lambda: clock.now() + ahead_ms) as client:
            await home.sign_in(client)
            token = await client.access_token()
            line.cut()
            ahead_ms = 57 * clock.MINUTE_MS
            assert await client.access_token() == token
            ahead_ms = 61 * clock.MINUTE_MS
            with pytest.raises(CannotReach):
                await client.access_token()
            assert isinstance(client.problem.value, CannotReach)


async def test_after_an_answer_that_was_lost_the_same_code_opens_the_same_session(home: Home) -> None:
    async with line_to(home.served.url) as line:
        home.address = line.url
        async with home.client() as client:
            sent = await client.send_code(ADA)
            code = await code_mailed_to(home.served, ADA)
            line.loses_answers = True
            with pytest.raises(CannotReach):
                await client.sign_in_with_code(sent, code)
            line.loses_answers = line.broken = False
        async with home.client() as client:
            user = await client.sign_in_with_code(sent, code)
    assert user.claims["sid"] == (await home.session()).session_id


async def test_many_who_need_a_token_at_once_refresh_once(home: Home) -> None:
    ahead_ms = 0
    async with home.client(clock=lambda: clock.now() + ahead_ms) as client:
        await home.vouched(client)
        token = await client.access_token()
        ahead_ms = 56 * clock.MINUTE_MS
        with capture_logs() as lines:
            tokens = await asyncio.gather(*(client.access_token() for _ in range(10)))
    assert len(set(tokens) - {token}) == 1
    assert [line["event"] for line in lines].count("refresh.accepted") == 1


async def test_who_signs_in_over_another_person_signs_them_out(home: Home) -> None:
    async with home.client() as client:
        await home.vouched(client, ADA)
        await home.vouched(client, BOB)
        assert client.current_user.value is not None
        assert client.current_user.value.user_id == BOB
        await home.vouched(client, BOB)
    first, second = await home.sessions()
    assert (first.reason, second.state, second.ordinal) == ("logged_out", "ENROLLED", 1)


async def test_processes_that_share_a_file_are_one_device_with_one_session(home: Home) -> None:
    async with home.client() as one, home.client() as other:
        await asyncio.gather(*(home.vouched(client) for client in (one, other) * 4))
        await asyncio.gather(*(client.refresh() for client in (one, other) * 4))
        session = await home.session()
        assert session.device_id == home.kept().device_id

        await one.sign_out()
        with pytest.raises(NotSignedIn):
            await other.refresh()
        assert other.current_user.value is None
    assert (await home.session()).reason == "logged_out"


async def test_a_folder_that_cannot_be_written_is_said_before_anything_is_sent(
    home: Home, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    home.folder = tmp_path / "file" / "folder"
    with pytest.raises(Exception, match="cannot be read"):
        async with home.client() as client:
            await home.vouched(client)
    assert await home.sessions() == []


@pytest.fixture
async def threads(one_home: Home) -> AsyncIterator[AdmitClient]:
    """A client without asyncio, open."""
    client = AdmitClient(f"{one_home.served.url}/notes", directory=one_home.folder)
    await asyncio.to_thread(client.open)
    yield client
    await asyncio.to_thread(client.close)


async def test_a_program_without_asyncio_does_the_same(one_home: Home, threads: AdmitClient) -> None:
    served = one_home.served
    heard: list[CurrentUser | None] = []

    def program(code: str = "") -> None:
        unsubscribe = threads.current_user.subscribe(heard.append)
        user = threads.sign_in_with_code(sent, code)
        assert threads.access_token()
        assert threads.refresh() == user
        assert threads.device_id() == one_home.kept().device_id
        threads.sign_out()
        assert heard == [None, user, None]
        unsubscribe()
        with pytest.raises(NotSignedIn):
            threads.access_token()

    sent = await asyncio.to_thread(threads.send_code, ADA)
    await asyncio.to_thread(program, await code_mailed_to(served, ADA))
    assert (await one_home.session()).reason == "logged_out"


async def test_a_client_that_is_not_open_says_so(one_home: Home) -> None:
    client = one_home.client()
    with pytest.raises(RuntimeError, match="not open"):
        await client.send_code(ADA)
    with pytest.raises(RuntimeError, match="not open"):
        AdmitClient("https://login.example.com/notes").access_token()
    async with client:
        with pytest.raises(RuntimeError, match="open already"):
            await client.open()


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(AdmitClient) - {"url"} == public(AsyncAdmitClient)
