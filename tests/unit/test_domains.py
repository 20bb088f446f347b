"""Domains and owners' addresses are compared with what people sign in with: one spelling for both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.accounts.domains import parse_domain, parse_host, parse_owner
from admit.errors import InvalidRequest
from admit.signin.email_addresses import normalise_email

SPELLINGS = st.text(
    st.sampled_from("aAzZ09-.üÜßẞıİſσςЯ。．｡\u0301\u200d\u00adxn"), min_size=1, max_size=20
) | st.text(max_size=20)


@given(SPELLINGS)
def test_a_rule_and_an_address_spell_a_domain_alike(typed: str) -> None:
    try:
        address = normalise_email(f"x@{typed}.example")
    except InvalidRequest:
        return
    assert parse_domain(f"{typed}.example") == address.removeprefix("x@")


@given(SPELLINGS)
def test_a_domain_has_one_spelling(typed: str) -> None:
    try:
        once = parse_domain(typed)
    except InvalidRequest:
        return
    assert once.isascii()
    assert parse_domain(once) == once


@pytest.mark.parametrize("typed", [" Owner@Example.COM ", "owner@example.com.", "OWNER@example.com"])
def test_an_owner_is_whom_sign_in_recognises(typed: str) -> None:
    assert parse_owner(typed) == "owner@example.com"


@pytest.mark.parametrize(
    "typed",
    ["", "owner", "@example.com", "a@b@example.com", "a b@example.com", "a@localhost", "a\x00@example.com"],
)
def test_what_is_no_address_cannot_own(typed: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_owner(typed)


@pytest.mark.parametrize(
    "host", ["127.1", "0177.0.0.1", "2130706433", "1.2.3.4.5", "[::1", "::1", "[::1%eth0]", ""]
)
def test_shorthand_for_addresses_is_no_host(host: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_host(host)
