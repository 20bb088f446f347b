"""One spelling for each email address, and nothing that could break a header or hide a person."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.errors import InvalidRequest
from admit.signin.email_addresses import Addressee, addressee_of, mailbox_of, network_of, normalise_email

ADDRESSES = st.one_of(
    st.text(max_size=80),
    st.builds(
        "{}@{}".format, st.text(max_size=70), st.sampled_from(["example.com", "MÜNCHEN.de.", "b。com"])
    ),
    st.emails(),
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (" Bob@Example.COM ", "bob@example.com"),
        ("bob@example.com.", "bob@example.com"),
        ("bob+tag@example.com", "bob+tag@example.com"),
        ("x@münchen.de", "x@xn--mnchen-3ya.de"),
        ("x@XN--MNCHEN-3YA.de", "x@xn--mnchen-3ya.de"),
        ("x@faß.de", "x@xn--fa-hia.de"),
        ("Jose\u0301@example.com", "jos\u00e9@example.com"),
        ("x@example\u3002com", "x@example.com"),
        ("o'neil!#$%&*-/=?^_`{|}~@example.com", "o'neil!#$%&*-/=?^_`{|}~@example.com"),
    ],
)
def test_spellings_of_one_address_become_one(typed: str, meant: str) -> None:
    assert normalise_email(typed) == meant


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "bob",
        "@example.com",
        "bob@",
        "a@b@example.com",
        "a@evil.com@example.com",
        "a@x.com as b@y.com",
        "a@x.com\tAS\tb@y.com",
        "bob@example.com\r\nBcc: all@example.com",
        "bob\r\n@example.com",
        "bob\x00@example.com",
        "bo b@example.com",
        '"bob"@example.com',
        "<bob@example.com>",
        "bob,eve@example.com",
        "bob;eve@example.com",
        "bob(x)@example.com",
        ".bob@example.com",
        "bob.@example.com",
        "b..ob@example.com",
        "bob\u200b@example.com",
        "bob\u202e@example.com",
        "bob\u2028@example.com",
        "bob\ud800@example.com",
        "bob\ue000@example.com",
        "bob@[127.0.0.1]",
        "bob@127.0.0.1",
        "bob@localhost",
        "bob@-example.com",
        "bob@exa_mple.com",
        "bob@example..com",
        "bob@example.com..",
        "bob@xn--a.com",
        "b" * 65 + "@example.com",
        "é" * 33 + "@example.com",
        "b@" + ".".join(["x" * 60] * 5) + ".com",
        "b@" + "ü" * 200 + ".com",
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(typed: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalise_email(typed)
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(
    ("typed", "addressee"),
    [
        ("Bob@Example.com", Addressee("bob@example.com")),
        ("a@x.com as B@y.com", Addressee("a@x.com", "b@y.com")),
        (" a@x.com \t AS  b@y.com ", Addressee("a@x.com", "b@y.com")),
        ("as@as.com as as@as.org", Addressee("as@as.com", "as@as.org")),
    ],
)
def test_an_owner_may_name_whom_to_sign_in_as(typed: str, addressee: Addressee) -> None:
    assert addressee_of(typed) == addressee


@pytest.mark.parametrize(
    "typed",
    [
        "a@x.com as",
        "as b@y.com",
        "a@x.com as b",
        "a@x.com as b@y.com as c@z.com",
        "a@x.comasb@y.com",
        " as ",
        "",
    ],
)
def test_what_names_no_two_people_is_refused(typed: str) -> None:
    with pytest.raises(InvalidRequest):
        addressee_of(typed)


@given(ADDRESSES)
def test_every_text_has_one_spelling_or_none(typed: str) -> None:
    try:
        address = normalise_email(typed)
    except InvalidRequest:
        return
    assert normalise_email(address) == address
    assert len(address.encode()) <= 254
    assert address.count("@") == 1
    assert address.rpartition("@")[2].isascii()
    assert not any(unicodedata.category(each)[0] in "CZ" or each in '<>,;:"\\()[]' for each in address)


@given(ADDRESSES)
def test_case_never_makes_another_person(typed: str) -> None:
    try:
        address = normalise_email(typed)
    except InvalidRequest:
        return
    if address.isascii():
        assert normalise_email(address.upper()) == address


@pytest.mark.parametrize(
    ("email", "mailbox"),
    [
        ("bob+a+b@example.com", "bob@example.com"),
        ("b.o.b@example.com", "b.o.b@example.com"),
        ("b.o.b+x@gmail.com", "bob@gmail.com"),
        ("bob@googlemail.com", "bob@gmail.com"),
        ("+tag@example.com", "+tag@example.com"),
    ],
)
def test_one_mailbox_is_counted_once(email: str, mailbox: str) -> None:
    assert mailbox_of(email) == mailbox


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1%eth0", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_a_client_counts_as_what_it_cannot_choose(address: str, network: str) -> None:
    assert network_of(address) == network
