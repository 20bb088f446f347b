"""The egress policy: attacks by address and by URL."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.errors import ConfigError
from admit.outbound.addresses import EgressPolicy, Target

NOTHING_ALLOWED = EgressPolicy()

FORBIDDEN = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1
192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1 198.19.255.255
198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b::168.63.129.16
64:ff9b:1::1 64:ff9b:1::8.8.8.8 64:ff9b:1:ffff::1 100::1 100:0:0:1::1
2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:1ff::1 2001:db8::1
2002:a9fe:a9fe::1 2002:7f00:1::1 2002:808:808::1 2620:4f:8000::1 3fff::1 3fff:fff::1 4000::1 5f00::1
fc00::1 fd00::1 fd00:ec2::254 fd20:ce::254 fe80::1 fe80::1%eth0 febf::1 fec0::1 feff::1 ff02::1 ff0e::1
2a00:1450:4001::5efe:10.0.0.1 2a00:1450:4001::200:5efe:127.0.0.1 fe80::5efe:8.8.8.8
"""

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
168.63.129.15 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
223.255.255.255 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2001:200::1 2001:4860:4860::8888 2003::1 2606:4700::1111
2a00:1450:4001::5efe:8.8.8.8
"""


@pytest.mark.parametrize("address", FORBIDDEN.split())
def test_address_outside_of_the_public_internet_is_refused(address: str) -> None:
    assert NOTHING_ALLOWED.refusal("hooks.example.com", address, 443)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_address_is_reached(address: str) -> None:
    assert NOTHING_ALLOWED.refusal("hooks.example.com", address, 443) is None


@given(st.ip_addresses(v=4))
def test_every_ipv4_address_that_python_calls_special_is_refused(address: ipaddress.IPv4Address) -> None:
    if not address.is_global or address.is_multicast:
        assert NOTHING_ALLOWED.refusal("x.example", str(address), 443)


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_that_python_calls_special_is_refused(address: ipaddress.IPv6Address) -> None:
    # Newer Pythons know some exceptions inside of 2001::/23, which no receiver lives in.
    if not address.is_global or address.is_multicast or address.is_site_local:
        assert NOTHING_ALLOWED.refusal("x.example", str(address), 443)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:", "64:ff9b::", "2a00::5efe:", "2a00::200:5efe:"]))
def test_embedded_ipv4_address_is_judged_like_itself(address: ipaddress.IPv4Address, prefix: str) -> None:
    bare = NOTHING_ALLOWED.refusal("x.example", str(address), 443)
    embedded = NOTHING_ALLOWED.refusal("x.example", f"{prefix}{address}", 443)

    assert (bare is None) == (embedded is None)


def test_refusal_names_host_address_and_remedy() -> None:
    assert NOTHING_ALLOWED.refusal("hooks.example.com", "10.1.2.3", 443) == (
        "hooks.example.com leads to 10.1.2.3, which is a private address. "
        "If it may be reached all the same, name it in ADMIT_EGRESS_ALLOW when the server starts."
    )


# EGRESS_ALLOW


def test_allowed_host_may_be_private_and_plain() -> None:
    policy = EgressPolicy.parse("Receiver.Internal")

    assert policy.refusal("receiver.internal", "10.0.0.1", 80) is None
    assert policy.refusal("receiver.internal.", "fd12::1", 80) is None
    assert policy.url_refusal("http://RECEIVER.internal:8080/x") is None


def test_allowed_host_does_not_allow_its_neighbours() -> None:
    policy = EgressPolicy.parse("receiver.internal")

    for host in ("x.receiver.internal", "receiver.internal.evil.example", "receiver", "eceiver.internal"):
        assert policy.refusal(host, "10.0.0.1", 443)
        assert policy.url_refusal(f"http://{host}/")


def test_allowed_name_never_leads_to_the_metadata_service() -> None:
    policy = EgressPolicy.parse("receiver.internal")

    for address in ("169.254.169.254", "::ffff:169.254.169.254", "168.63.129.16", "fd00:ec2::254", "0.0.0.0"):
        assert policy.refusal("receiver.internal", address, 80)


def test_allowed_block_is_reached_by_any_name_and_in_any_dress() -> None:
    policy = EgressPolicy.parse("10.20.0.0/16, fd12:3456::/32")

    assert policy.refusal("hooks.example.com", "10.20.255.1", 443) is None
    assert policy.refusal("hooks.example.com", "::ffff:10.20.255.1", 443) is None
    assert policy.refusal("hooks.example.com", "64:ff9b::10.20.255.1", 443) is None
    assert policy.refusal("hooks.example.com", "fd12:3456::1", 443) is None
    assert policy.refusal("hooks.example.com", "10.21.0.1", 443)


def test_allowed_block_does_not_make_names_plain() -> None:
    policy = EgressPolicy.parse("10.20.0.0/16")

    assert policy.url_refusal("http://10.20.0.1/") is None
    assert policy.url_refusal("http://hooks.example.com/")


@pytest.mark.parametrize("allow", ["127.0.0.1:9000", "localhost:9000,127.0.0.1:9000"])
def test_allowance_for_one_port_is_for_that_port_only(allow: str) -> None:
    policy = EgressPolicy.parse(allow)

    assert policy.url_refusal("http://127.0.0.1:9000/") is None
    assert policy.refusal("127.0.0.1", "127.0.0.1", 9000) is None
    assert policy.url_refusal("http://127.0.0.1:6379/")
    assert policy.refusal("127.0.0.1", "127.0.0.1", 6379)


def test_ipv6_literal_can_be_allowed_with_and_without_port() -> None:
    assert EgressPolicy.parse("::1").url_refusal("http://[::1]:80/") is None
    assert EgressPolicy.parse("[::1]:81").url_refusal("http://[::1]:81/") is None
    assert EgressPolicy.parse("[::1]:81").url_refusal("http://[::1]:82/")


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1/8",
        "a b",
        "*",
        "*.internal",
        "http://x",
        "x:99999",
        "u@x",
        "x/y",
        "2130706433",
        "10.0.0/8",
        "x#y",
    ],
)
def test_unreadable_egress_allow_stops_the_start_with_its_entry_and_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"EGRESS_ALLOW has .*Example: ADMIT_EGRESS_ALLOW="):
        EgressPolicy.parse(text)


def test_empty_egress_allow_allows_nothing() -> None:
    assert EgressPolicy.parse(" , ") == NOTHING_ALLOWED


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/a//b?c=%20&d",
        "https://hooks.example.com:8443/",
        "https://xn--bcher-kva.example/",
        "https://bücher.example/grüße",
        "https://a_b.example.com./x",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
    ],
)
def test_public_https_url_is_accepted(url: str) -> None:
    assert NOTHING_ALLOWED.url_refusal(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "//hooks.example.com/",
        "hooks.example.com",
        "",
        "https://",
        "https:///x",
        "https:hooks.example.com",
        "https://user@hooks.example.com/",
        "https://user:password@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com@127.0.0.1/",
        "https://hooks.example.com/#fragment",
        "https://hooks.example.com#@127.0.0.1/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com/\r\nX-Injected: 1",
        "https://hooks.example.com/ x",
        "https://hooks.example.com\t/",
        "https://hooks.exa\u200dmple.com/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:65536/",
        "https://hooks.example.com:80:90/",
        "https://hooks.example.com:x/",
        "https://a..b/",
        "https://-a.example/",
        "https://[::1/",
        "https://[127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://%31%32%37.0.0.1/",
        "https://127.0.0.1/",
        "https://127.0.0.1./",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fd00::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.0x1/",
        "https://１２７.０.０.１/",
        "https://127。0。0。1/",
        "https://①②⑦.0.0.1/",
        "https://example.1/",
        "https://example.0x/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://hooks.example.com/" + "a" * 2_048,
    ],
)
def test_url_that_leads_astray_is_refused(url: str) -> None:
    assert NOTHING_ALLOWED.url_refusal(url)


@given(st.text(max_size=80), st.sampled_from(["", "https://", "http://", "https://x@", "https://["]))
def test_no_text_breaks_the_policy_or_reaches_a_plain_url(text: str, start: str) -> None:
    target = NOTHING_ALLOWED.aim(start + text)

    if isinstance(target, Target):
        assert target.url.scheme == "https"
        assert target.url.raw_host is not None
        assert target.url.raw_host.isascii()
        assert target.url.user is None
