"""Rules of operators: roles, passwords, where passkeys work, and what sessions are called."""

import asyncio

import pytest
from argon2 import PasswordHasher

from admit.errors import InvalidRequest, Unavailable
from admit.operators.ceremonies import RelyingParty, challenge_in, credential_id_in
from admit.operators.passwords import AT_ONCE_MAX, BUSY, WAITING_MAX, Passwords, check_password
from admit.operators.people import parse_name, parse_role
from admit.operators.roles import ROLES, SCOPES, scopes_of
from admit.web.manager.browsers import browser_of
from admit.web.manager.sign_in import inside


def test_each_role_may_less_than_the_one_before() -> None:
    owner, admin, support, read_only = map(scopes_of, ROLES)
    assert owner == SCOPES
    assert admin == SCOPES - {"operators:write"}
    assert support < admin
    assert "secrets:read" not in support | read_only
    assert not any(scope.endswith(":write") for scope in read_only)
    assert not {"operators:read", "tokens:read"} & (support | read_only)


def test_support_makes_no_keys() -> None:
    assert not {"apps:write", "tokens:write", "tasks:write", "data:write"} & scopes_of("support")


@pytest.mark.parametrize("role", ["", "Owner", "root", "owner "])
def test_other_roles_are_refused(role: str) -> None:
    with pytest.raises(InvalidRequest, match="owner, admin, support, read-only"):
        parse_role(role)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "two\nlines", "bell\a"])
def test_name_is_one_line(name: str) -> None:
    with pytest.raises(InvalidRequest, match="one line"):
        parse_name(name)


@pytest.mark.parametrize("password", ["x" * 11, "x" * 257, "ü" * 129])
def test_password_has_its_bounds(password: str) -> None:
    with pytest.raises(InvalidRequest):
        check_password(password)


@pytest.mark.parametrize("password", ["x" * 12, "x" * 256, "ü" * 128])
def test_password_may_be_any_text(password: str) -> None:
    assert check_password(password) == password


async def test_password_matches_its_digest_alone() -> None:
    passwords = Passwords()
    digest = await passwords.digest("correct horse battery")
    assert digest.startswith("$argon2id$")
    assert await passwords.matches(digest, "correct horse battery")
    assert not await passwords.matches(digest, "correct horse batterx")
    assert not await passwords.matches("", "correct horse battery")
    assert not await passwords.matches("no digest", "correct horse battery")


async def test_digest_of_less_cost_is_old() -> None:
    passwords = Passwords()
    assert passwords.is_old(PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash("x" * 12))
    assert not passwords.is_old(await passwords.digest("x" * 12))


async def test_a_crowd_waits_for_few_places_and_then_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords, gate, most = Passwords(), asyncio.Event(), 0
    at_once = 0

    async def slow(_work: object) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await gate.wait()
        at_once -= 1
        return False

    passwords._nobodys = await passwords.digest("nobody's password")
    monkeypatch.setattr(asyncio, "to_thread", slow)
    crowd = [asyncio.create_task(passwords.matches("", "x" * 12)) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match=BUSY):
        await passwords.matches("", "x" * 12)
    gate.set()
    assert await asyncio.gather(*crowd) == [False] * WAITING_MAX
    assert most == AT_ONCE_MAX


@pytest.mark.parametrize(
    ("public_url", "party", "usable"),
    [
        ("https://login.example.com", ("login.example.com", "https://login.example.com"), True),
        ("https://login.example.com:8443", ("login.example.com", "https://login.example.com:8443"), True),
        ("http://localhost:8080", ("localhost", "http://localhost:8080"), True),
        ("http://127.0.0.1:8080", ("127.0.0.1", "http://127.0.0.1:8080"), False),
        ("http://[::1]:8080", ("::1", "http://[::1]:8080"), False),
    ],
)
def test_passkeys_belong_to_the_host_of_the_public_url(
    public_url: str, party: tuple[str, str], usable: bool
) -> None:
    found = RelyingParty.of(public_url)
    assert (found.rp_id, found.origin) == party
    assert found.usable is usable


@pytest.mark.parametrize("credential", ["", "1", "[]", "{}", '{"id": 5}', '{"id": "!"}', "x" * 20_001])
def test_nonsense_is_no_credential(credential: str) -> None:
    with pytest.raises(InvalidRequest):
        challenge_in(credential)


def test_credential_id_has_one_spelling() -> None:
    assert credential_id_in('{"id": "YWJj"}') == credential_id_in('{"id": "YWJj=="}') == "YWJj"


@pytest.mark.parametrize(
    ("user_agent", "told"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36", "Chrome on Windows"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.0 Safari/605.1", "Safari on macOS"),
        ("curl/8.9.1", "curl/8.9.1"),
        ("", "Unknown"),
    ],
)
def test_browsers_are_called_by_name(user_agent: str, told: str) -> None:
    assert browser_of(user_agent) == told


@pytest.mark.parametrize("to", ["/manager", "/manager/apps/notes?x=1#y", "/manager?x"])
def test_pages_of_the_manager_are_inside(to: str) -> None:
    assert inside(to) == to


@pytest.mark.parametrize(
    "to", ["", "/", "/managers", "//x/manager", "https://x/manager", "/manager\\x", "/manager\n"]
)
def test_all_else_is_outside(to: str) -> None:
    assert inside(to) == "/manager"
