"""Forwarding headers are believed from listed proxies alone."""

import ipaddress

import pytest

from admit.web.proxies import client_address, client_scheme

TRUSTED = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "192.0.2.1/32", "fd00::/8")))


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1, 192.0.2.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4, nonsense, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.1:50123"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:50123"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::2"], "2001:db8::2"),
        ("fd00::1%eth0", ["2001:db8::2"], "2001:db8::2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [",,"], "10.0.0.1"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_client_is_the_rightmost_that_is_no_trusted_proxy(
    peer: str, headers: list[str], expected: str
) -> None:
    assert client_address(peer, headers, TRUSTED) == expected


def test_without_trusted_proxies_headers_are_never_believed() -> None:
    assert client_address("127.0.0.1", ["198.51.100.1"], ()) == "127.0.0.1"
    assert client_scheme("127.0.0.1", "http", ["https"], ()) == "http"


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("10.0.0.1", ["https"], "https"),
        ("10.0.0.1", ["http, https"], "https"),
        ("10.0.0.1", ["javascript"], "http"),
        ("203.0.113.7", ["https"], "http"),
        ("10.0.0.1", [], "http"),
    ],
)
def test_scheme_is_what_the_nearest_trusted_proxy_says(peer: str, headers: list[str], expected: str) -> None:
    assert client_scheme(peer, "http", headers, TRUSTED) == expected
