"""Paging keys: the documented form, and all others."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.accounts.paging_keys import Position, read_key, write_key
from admit.errors import InvalidRequest

DOCUMENTED = "WyJhbGljZUBkZW1vLmxvY2FsIiwiYWxpY2VAZGVtby5sb2NhbCJd"
"""From the documentation of Dexie Cloud, for sort=userId."""


def test_key_is_the_documented_one() -> None:
    position = Position("alice@demo.local", "alice@demo.local")

    assert write_key(position) == DOCUMENTED
    assert read_key(DOCUMENTED, numbered=False) == position


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=300))
def test_every_key_leads_back_even_when_a_query_string_has_mangled_it(user_id: str) -> None:
    key = write_key(Position(1_700_000_000_000, user_id))

    for arrived in (key, key.replace("+", " "), key.rstrip("="), key.replace("+", "-").replace("/", "_")):
        assert read_key(arrived, numbered=True) == Position(1_700_000_000_000, user_id)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"[1]",
        b'[1,"a","b"]',
        b'{"0":1,"1":"a"}',
        b'["created","a"]',
        b'[1.5,"a"]',
        b'[true,"a"]',
        b"[1,2]",
        b'[null,"a"]',
        b'[99999999999999999999,"a"]',
        b'[1,"a\\u0000b"]',
        b'[1,"\\ud800"]',
        b'[1,"\xff"]',
        b'[1,"' + b"a" * 1_001 + b'"]',
        b"[" * 100_000,
    ],
)
def test_key_that_we_have_not_made_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_key(base64.b64encode(content).decode(), numbered=True)


@pytest.mark.parametrize("key", ["", "!!!!", "WyJ", "é", "null", "W1tbW1tbW1tb" * 5_000])
def test_text_that_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest):
        read_key(key, numbered=True)


def test_key_of_an_order_by_words_is_refused_by_an_order_by_numbers_and_the_other_way_round() -> None:
    with pytest.raises(InvalidRequest):
        read_key(write_key(Position("eval", "a")), numbered=True)
    with pytest.raises(InvalidRequest):
        read_key(write_key(Position(7, "a")), numbered=False)


@given(st.text())
def test_whatever_is_sent_is_a_position_or_invalid(key: str) -> None:
    with suppress(InvalidRequest):
        read_key(key, numbered=False)
