"""The rules of the Python client that need neither disk nor network."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from admit.accounts.devices import DeviceSent as DeviceOfServer
from admit.accounts.devices import check
from admit.accounts.keys import parse_public_key, verify_rsa
from admit.client import (
    Alert,
    AsyncAdmitClient,
    CannotReach,
    DeviceInfo,
    Observable,
    Refusal,
    SessionWiped,
    WrongAddress,
    WrongCode,
)
from admit.client import kept as rules
from admit.client.current_user import Tokens, user_of
from admit.client.database_url import checked, file_name
from admit.client.device_key import DeviceKey, new_private_key
from admit.client.errors import KINDS, refusal_of
from admit.client.kept import Farewell, Kept, Session, session_of
from admit.client.requests import DeviceSent, enrollment_token_of, signed
from admit.signin.refresh import SignedRefresh, signed_bytes
from tests.structure.source import page

NOW = 1_800_014_400_000


def tokens(sid: str = "ses_1", *, life_ms: int = 3_600_000, **changes: object) -> Tokens:
    body = {
        "type": "tokens",
        "claims": {"sub": "ada@example.com", "sid": sid, "license": "ok"},
        "accessToken": "access",
        "accessTokenExpiration": NOW + life_ms,
        "refreshToken": f"refresh of {sid}",
        "refreshTokenExpiration": NOW + 10 * life_ms,
        "userType": "eval",
        **changes,
    }
    return msgspec.convert(body, Tokens)


def session(sid: str = "ses_1") -> Session:
    return session_of(tokens(sid), NOW)


NEW = Kept(device_id="dev_1")
AT_HOME = rules.signed_in(NEW, session(), "key")


# The address


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://login.example.com/notes/", "https://login.example.com/notes"),
        (" https://Login.Example.com:443/notes ", "https://login.example.com/notes"),
        ("https://auth.example.com", "https://auth.example.com"),
        ("http://localhost:8080/notes", "http://localhost:8080/notes"),
        ("http://notes.localhost", "http://notes.localhost"),
        ("http://127.0.0.5:80/notes", "http://127.0.0.5/notes"),
        ("http://[::1]:8080/notes", "http://[::1]:8080/notes"),
    ],
)
def test_a_database_url_has_one_form(given: str, url: str) -> None:
    assert checked(given, allow_http=False) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "login.example.com/notes",
        "ftp://login.example.com",
        "https://",
        "https:///notes",
        "https://login.example.com:port",
        "https://login.example.com/no\ntes",
        "https://ada:secret@login.example.com/notes",
        "https://login.example.com/notes?secret",
        "https://login.example.com/notes#secret",
        "http://login.example.com/notes",
        "http://localhost.example.com/notes",
        "http://10.0.0.1/notes",
    ],
)
def test_another_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(WrongAddress) as refused:
        AsyncAdmitClient(url)
    assert "secret" not in refused.value.message
    assert refused.value.code == "wrong_address"


def test_plain_http_to_another_machine_is_for_those_who_ask_for_it() -> None:
    assert AsyncAdmitClient("http://10.0.0.1/notes", allow_http=True).url == "http://10.0.0.1/notes"


def test_every_app_has_a_file_of_its_own() -> None:
    urls = ["https://a.example/x-y", "https://a.example/x/y", "http://a.example/x-y", "https://a.example:1/x"]
    assert len({file_name(url) for url in urls}) == len(urls)
    assert file_name(urls[0]).startswith("a.example-x-y-")
    assert all(
        name.isascii() and "/" not in name
        for name in map(file_name, [*urls, "https://ä.example/" + "é" * 500])
    )


# What is kept


def test_a_login_over_another_session_owes_that_one_a_farewell() -> None:
    after = rules.signed_in(AT_HOME, session("ses_2"), "key")
    assert after.session == session("ses_2")
    assert after.farewells == (Farewell("logged_out", "ses_1", "refresh of ses_1"),)
    assert rules.signed_in(AT_HOME, session("ses_1"), "key").farewells == ()


def test_what_another_process_has_done_meanwhile_is_not_undone() -> None:
    theirs = rules.signed_in(NEW, session("ses_2"), "key")
    for step in (rules.signed_out, rules.ended, rules.wiping):
        assert step(theirs, "ses_1") == theirs
        assert step(NEW, "ses_1") == NEW
    assert rules.renewed(theirs, session("ses_1")) == theirs
    assert rules.renewed(NEW, session("ses_1")) == NEW


def test_signing_out_keeps_the_device_and_its_key() -> None:
    out = rules.signed_out(AT_HOME, "ses_1")
    said = rules.parted(out, out.farewells[0])
    assert said == replace(NEW, private_key="key")


def test_a_wipe_keeps_the_device_and_no_key_once_it_is_confirmed() -> None:
    wiping = rules.wiping(AT_HOME, "ses_1")
    assert (wiping.session, wiping.private_key) == (None, "key")
    assert rules.parted(wiping, wiping.farewells[0]) == NEW
    both = replace(wiping, farewells=(*wiping.farewells, Farewell("logged_out", "ses_0", "older")))
    assert rules.parted(both, wiping.farewells[0]).private_key == "key"


def test_time_stamps_only_grow() -> None:
    assert rules.timed(rules.timed(NEW, 5, 100), 0, 50) == replace(NEW, newest_stamp=100)


@pytest.mark.parametrize(
    ("life_ms", "before_ms"), [(3_600_000, 300_000), (300_000, 150_000), (0, 0), (-5, 0)]
)
def test_it_is_time_to_refresh_five_minutes_before_the_end_or_halfway(life_ms: int, before_ms: int) -> None:
    read = session_of(tokens(life_ms=life_ms), NOW)
    assert read.renew_at == read.access_until - before_ms


@pytest.mark.parametrize(
    "changes", [{"claims": {"sub": "a"}}, {"claims": {"sid": "b"}}, {"refreshToken": None}]
)
def test_tokens_that_are_no_persons_are_not_kept(changes: dict[str, object]) -> None:
    with pytest.raises(CannotReach):
        session_of(tokens(**changes), NOW)  # type: ignore[arg-type]


# Who is signed in


def test_the_current_user_has_the_fields_of_the_addon() -> None:
    user = user_of(
        tokens(
            claims={"sub": "ada", "name": "Ada", "email": "", "license": "expired"},
            userValidUntil=0,
            evalDaysLeft=3,
            data={"team": "blue"},
            alerts=[
                {
                    "type": "warning",
                    "messageCode": "LICENSE_ENDS",
                    "message": "Ends on {date}.",
                    "messageParams": {"date": "2027-01-15"},
                }
            ],
        )
    )
    assert (user.user_id, user.name, user.email, user.data) == ("ada", "Ada", None, {"team": "blue"})
    assert (user.license.type, user.license.status, user.license.eval_days_left) == ("eval", "expired", 3)
    assert user.license.valid_until == datetime(1970, 1, 1, tzinfo=UTC)
    assert [alert.text for alert in user.alerts] == ["Ends on 2027-01-15."]


def test_a_license_without_an_end_that_a_calendar_has_ends_never() -> None:
    assert user_of(tokens(userValidUntil=2**62)).license.valid_until is None


def test_an_alert_shows_what_it_has_no_parameter_for() -> None:
    assert Alert("info", "NOTICE", "{a} and {b}", {"a": "1"}).text == "1 and {b}"


def test_a_subscriber_hears_the_present_and_every_change() -> None:
    value: Observable[int] = Observable(1)
    heard: list[int] = []
    unsubscribe = value.subscribe(heard.append)
    for each in (1, 2, 2, 3):
        value.set(each)
    unsubscribe()
    unsubscribe()
    value.set(4)
    assert (heard, value.value) == ([1, 2, 3], 4)


def test_a_subscriber_that_fails_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    value: Observable[int] = Observable(1)
    heard: list[int] = []

    def fails(_value: int) -> None:
        raise ZeroDivisionError

    value.subscribe(fails)
    value.subscribe(heard.append)
    value.set(2)
    assert heard == [1, 2]
    assert "ZeroDivisionError" in caplog.text


def test_a_change_while_somebody_subscribes_is_the_last_that_they_hear() -> None:
    value: Observable[int] = Observable(1)
    heard: list[int] = []

    def changes_once(told: int) -> None:
        value._value = 2  # as another thread does, which has told it before
        heard.append(told)

    value.subscribe(changes_once)
    assert heard == [1, 2]


# What goes over the wire


def test_the_server_accepts_what_a_device_signs() -> None:
    key = DeviceKey(new_private_key())
    body = msgspec.to_builtins(signed(key, "token", NOW, refreshes=True))
    assert (body.pop("grant_type"), body["scopes"]) == ("refresh_token", ())
    pem = parse_public_key(key.public_pem).pem
    assert verify_rsa(pem, signed_bytes(SignedRefresh(**body)), body["signature"])
    assert set(json.loads(msgspec.json.encode(signed(key, "token", NOW, refreshes=False)))) == {
        "refresh_token",
        "time_stamp",
        "signature",
        "signing_algorithm",
    }


def test_the_server_takes_the_device_as_it_is_told_by_default() -> None:
    sent = DeviceSent.of("dev_1", DeviceInfo())
    assert check(msgspec.convert(msgspec.to_builtins(sent), DeviceOfServer)).id == "dev_1"


@pytest.mark.parametrize(
    ("link", "token"),
    [
        ("https://app.example.com/#enrollment_token=a-b_c", "a-b_c"),
        ("https://app.example.com/start?x=1#page=2&enrollment_token=a%2Db_c", "a-b_c"),
        (" a-b_c\n", "a-b_c"),
    ],
)
def test_an_enrollment_token_is_found_in_its_link(link: str, token: str) -> None:
    assert enrollment_token_of(link) == token


def test_a_refusal_carries_the_code_and_the_sentence_of_the_server() -> None:
    body = b'{"error":"invalid_grant","code":"session_wiped","message":"This session was wiped."}'
    refusal = refusal_of(401, {}, body)
    assert isinstance(refusal, SessionWiped)
    assert (refusal.code, refusal.message, refusal.status) == (
        "session_wiped",
        "This session was wiped.",
        401,
    )
    assert not refusal.may_pass


def test_a_sentence_of_the_grant_otp_has_its_code_in_a_header() -> None:
    refusal = refusal_of(401, {"X-Admit-Error": "INVALID_OTP"}, "Das war er nicht: ä".encode())
    assert isinstance(refusal, WrongCode)
    assert refusal.message == "Das war er nicht: ä"


@given(
    status=st.integers(400, 999),
    headers=st.dictionaries(st.sampled_from(["X-Admit-Error", "Retry-After"]), st.text()),
    body=st.binary() | st.text().map(lambda text: json.dumps({"code": text, "message": text}).encode()),
)
def test_any_refusal_is_a_code_and_a_sentence(status: int, headers: dict[str, str], body: bytes) -> None:
    refusal = refusal_of(status, headers, body)
    assert isinstance(refusal, Refusal)
    assert len(refusal.message) <= 1_000
    assert refusal.message
    assert 0 <= (refusal.retry_after_seconds or 0) <= 3_600


def test_html_of_a_proxy_is_not_shown() -> None:
    refusal = refusal_of(502, {"Retry-After": "7"}, b"<html>Bad gateway</html>")
    assert (refusal.code, refusal.retry_after_seconds, refusal.may_pass) == ("refused", 7, True)
    assert refusal.message == "The server refused with status 502 Bad Gateway and said no more."


def test_codes_that_have_a_class_of_their_own_are_documented() -> None:
    assert [code for code in KINDS if f"`{code}`" not in page("errors.md")] == []


def test_what_is_kept_lies_in_the_platforms_folder_for_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/home/ada/data")
    client = AsyncAdmitClient("https://login.example.com/notes")
    assert client._session._file.path.parent == Path("/home/ada/data/admit")
