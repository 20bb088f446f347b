"""Origins: stored as browsers send them, whatever an operator types."""

import pytest

from admit.accounts.origins import parse_origin
from admit.errors import InvalidRequest


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("https://example.com", "https://example.com"),
        (" https://Example.COM/ ", "https://example.com"),
        ("HTTPS://example.com:443", "https://example.com"),
        ("https://example.com:8443/", "https://example.com:8443"),
        ("https://example.com.", "https://example.com"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("https://intranet", "https://intranet"),
        ("https://192.168.1.20:3000", "https://192.168.1.20:3000"),
        ("https://[2001:DB8:0::1]:443", "https://[2001:db8::1]"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://localhost:80/", "http://localhost"),
        ("http://localhost:00080", "http://localhost"),
        ("http://app.localhost:5173", "http://app.localhost:5173"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("ionic://localhost/", "ionic://localhost"),
        (
            "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb",
            "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb",
        ),
        ("app:MyApp", "app:MyApp"),
    ],
)
def test_each_form_of_the_contract_has_one_spelling(typed: str, stored: str) -> None:
    assert parse_origin(typed) == stored
    assert parse_origin(stored) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "https://example.com/app",
        "https://example.com//",
        "https://example.com?x",
        "https://example.com#x",
        "https://user@example.com",
        "https://example.com\\@evil.example",
    ],
)
def test_more_than_an_origin_is_refused_with_advice(typed: str) -> None:
    with pytest.raises(InvalidRequest, match="Write only scheme, host and port"):
        parse_origin(typed, force=True)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "example.com",
        "//example.com",
        "https://",
        "https://:443",
        "https://exa mple.com",
        "https://exa\nmple.com",
        "https://exam\u200bple.com\u2028x",
        "https://example.com:0",
        "https://example.com:65536",
        "https://example.com:" + "9" * 5_000,
        "https://example.com:٣",
        "https://example.com:",
        "https://127.1",
        "https://0177.0.0.1",
        "https://[::1",
        "https://[::1%25eth0]",
        "https://-example.com",
        "https://exa_mple.com",
        "https://" + "a" * 64 + ".com",
        "https://*.example.com",
        "*",
        "null",
        "file:///index.html",
        "app:",
        "app:My App",
        "capacitor://",
        "https://example.com" + "m" * 300,
    ],
)
def test_what_no_browser_sends_or_anybody_can_send_is_refused_even_by_force(typed: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_origin(typed, force=True)


@pytest.mark.parametrize(
    "typed", ["http://example.com", "tauri://localhost", "moz-extension://a-b", "app://-"]
)
def test_other_forms_need_force(typed: str) -> None:
    with pytest.raises(InvalidRequest, match="force"):
        parse_origin(typed)
    assert parse_origin(typed, force=True) == typed


def test_http_is_for_this_machine_not_for_look_alikes() -> None:
    for host in ("localhost.example.com", "127.0.0.1.example.com", "notlocalhost"):
        with pytest.raises(InvalidRequest):
            parse_origin(f"http://{host}:3000")
