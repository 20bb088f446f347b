"""Sealed columns and keyed digests."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.errors import ConfigError
from admit.storage.sealing import KeyRing, SealBroken

OLD = "the-old-secret-key-0123456789-abcdef"
NEW = "the-new-secret-key-0123456789-abcdef"
PLACE = "signing_keys.sealed/-/key_1"


@pytest.fixture(scope="module")
def old() -> KeyRing:
    return KeyRing.parse(OLD)


@pytest.fixture(scope="module")
def rotated() -> KeyRing:
    return KeyRing.parse(f"{NEW}, {OLD}")


@pytest.fixture(scope="module")
def new() -> KeyRing:
    return KeyRing.parse(NEW)


RING = KeyRing.parse(OLD)


@given(st.text(), st.text())
def test_what_was_sealed_is_unsealed_at_its_place(plain: str, place: str) -> None:
    try:
        sealed = RING.seal(plain, place)
    except UnicodeEncodeError:  # half a surrogate pair is no text
        return
    assert RING.unseal(sealed, place) == plain


def test_same_text_is_sealed_differently_each_time(ring: KeyRing) -> None:
    assert len({ring.seal("secret", PLACE) for _ in range(100)}) == 100


def test_sealed_text_hides_the_text(ring: KeyRing) -> None:
    sealed = ring.seal("hunter2", PLACE)
    assert "hunter2" not in sealed
    assert base64.urlsafe_b64encode(b"hunter2").decode()[:8] not in sealed


def test_value_moved_to_another_place_is_refused(ring: KeyRing) -> None:
    with pytest.raises(SealBroken):
        ring.unseal(ring.seal("secret", PLACE), "signing_keys.sealed/-/key_2")


def test_every_changed_character_is_noticed(ring: KeyRing) -> None:
    sealed = ring.seal("secret", PLACE)
    for at, character in enumerate(sealed):
        changed = sealed[:at] + ("A" if character != "A" else "B") + sealed[at + 1 :]
        # The last character of base64 carries bits that stand for nothing.
        if at < len(sealed) - 1:
            with pytest.raises(SealBroken):
                ring.unseal(changed, PLACE)


@given(st.one_of(st.text(), st.text().map(lambda text: f"s1.{text}.{text}")))
def test_nonsense_is_refused(sealed: str) -> None:
    with pytest.raises(SealBroken):
        RING.unseal(sealed, PLACE)


@pytest.mark.parametrize("body", ["", "AAAA", "====", "ä", "A", "AAAAAAAAAAAAAAAAAAAAAAAAAAAA"])
def test_right_key_with_a_broken_body_is_refused(ring: KeyRing, body: str) -> None:
    head = ring.seal("secret", PLACE).rpartition(".")[0]
    with pytest.raises(SealBroken):
        ring.unseal(f"{head}.{body}", PLACE)


def test_former_keys_unseal_and_the_newest_seals(old: KeyRing, rotated: KeyRing, new: KeyRing) -> None:
    assert rotated.unseal(old.seal("secret", PLACE), PLACE) == "secret"
    assert new.unseal(rotated.seal("secret", PLACE), PLACE) == "secret"
    with pytest.raises(SealBroken, match="SECRET_KEY"):
        new.unseal(old.seal("secret", PLACE), PLACE)


def test_digests_of_former_keys_are_found(old: KeyRing, rotated: KeyRing, new: KeyRing) -> None:
    assert rotated.digests("code", "1234") == (new.digest("code", "1234"), old.digest("code", "1234"))
    assert rotated.digest("code", "1234") == new.digest("code", "1234")
    assert rotated.matches("code", "1234", old.digest("code", "1234"))
    assert not new.matches("code", "1234", old.digest("code", "1234"))


def test_digest_depends_on_value_and_purpose(ring: KeyRing) -> None:
    digests = {ring.digest(purpose, value) for purpose in ("a", "b") for value in ("1", "2", "")}
    assert len(digests) == 6
    assert not ring.matches("a", "1", ring.digest("b", "1"))
    assert not ring.matches("a", "1", "")
    assert not ring.matches("a", "1", "ä")


def test_mac_of_former_keys_is_accepted(old: KeyRing, rotated: KeyRing, new: KeyRing) -> None:
    assert rotated.verify_mac("token", b"message", old.mac("token", b"message"))
    assert rotated.mac("token", b"message") == new.mac("token", b"message")
    assert not rotated.verify_mac("token", b"message!", old.mac("token", b"message"))
    assert not rotated.verify_mac("other", b"message", old.mac("token", b"message"))
    assert not rotated.verify_mac("token", b"message", b"")


def test_stored_formats_stay_readable() -> None:
    """Values that are in databases already: a change here locks their owners out."""
    sealed = "s1.T6bItA.hf9IBKbqoGgZvw5C_k3W74w4rMI1sgdPJjUivwrYW63_V9gNdush39k2"
    assert RING.unseal(sealed, PLACE) == "kept since 0.1"
    assert RING.digest("code", "1234") == "tqXiLOfSn2z8b7Iic85KFBeiWGJTb84jJMGLkc3lCyU"


def test_ring_does_not_print_its_keys(rotated: KeyRing) -> None:
    assert OLD not in f"{rotated!r} {rotated}"
    assert "new-secret" not in repr({"ring": rotated})


@pytest.mark.parametrize(
    "text", ["", "short", f"{OLD},", f"{OLD},short", "," + OLD, " " * 40, f"{OLD},{OLD}"]
)
def test_weak_key_stops_the_start(text: str) -> None:
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        KeyRing.parse(text)
