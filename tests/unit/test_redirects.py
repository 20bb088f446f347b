"""Where a sign-in may end: what leads to the app's own origins, and nothing else."""

import base64
import json
import string
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.errors import InvalidRequest
from admit.signin.redirects import Redirect, check_redirect, with_code, with_error

ORIGINS = frozenset(
    {
        "https://app.example.com",
        "https://app.example.com:8443",
        "http://localhost:3000",
        "capacitor://localhost",
        "myapp://signed-in",
        "chrome-extension://abcdefghijklmnop",
        "app:Notes",
        "https://[2001:db8::1]:8443",
        "javascript://app",
    }
)


@pytest.mark.parametrize(
    ("uri", "origin"),
    [
        ("https://app.example.com/", "https://app.example.com"),
        ("https://app.example.com/notes/1?tab=2#top", "https://app.example.com"),
        ("https://app.example.com:8443/x", "https://app.example.com:8443"),
        ("http://localhost:3000/#/inbox?x=1", "http://localhost:3000"),
        ("capacitor://localhost/index.html", "capacitor://localhost"),
        ("myapp://signed-in", "myapp://signed-in"),
        ("chrome-extension://abcdefghijklmnop/page.html", "chrome-extension://abcdefghijklmnop"),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
        ('https://app.example.com/?f={"a"}'.replace('"', "%22"), "https://app.example.com"),
    ],
)
def test_addresses_of_the_app_stay_as_they_are(uri: str, origin: str) -> None:
    assert check_redirect(uri, ORIGINS) == Redirect(uri, origin)


@pytest.mark.parametrize(
    ("uri", "becomes"),
    [
        ("https://app.example.com", "https://app.example.com/"),
        ("https://app.example.com?x=1", "https://app.example.com/?x=1"),
        ("HTTPS://APP.EXAMPLE.COM:443/Path", "https://app.example.com/Path"),
        ("https://app.example.com#@evil.example", "https://app.example.com/#@evil.example"),
    ],
)
def test_other_spellings_are_put_right(uri: str, becomes: str) -> None:
    assert check_redirect(uri, ORIGINS).uri == becomes


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/start",
        "//evil.example",
        "///evil.example",
        "\\\\evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https:/app.example.com/",
        "https://evil.example/https://app.example.com/",
        "https://app.example.com.evil.example/",
        "https://app.example.comevil.example/",
        "https://app.example.com@evil.example/",
        "https://evil.example@app.example.com/",
        "https://:@app.example.com/",
        "https://app.example.com:pass@evil.example/",
        "https://app.example.com:444/",
        "https://app.example.com:8443@evil.example/",
        "http://app.example.com/",
        "http://localhost/",
        "http://localhost:3001/",
        "https://sub.app.example.com/",
        "https://example.com/",
        "https://evil.example\\@app.example.com/",
        "https://evil.example\\.app.example.com/",
        "https://app.example.com\\.evil.example/",
        "https://app.example.com%2eevil.example/",
        "https://app%2eexample.com/",
        "https://app.example.com\t.evil.example/",
        "https://app.example.com\n/",
        " https://app.example.com/",
        "https://app.example.com/\r\nSet-Cookie: a=b",
        "https://app.example.com/\x00",
        "https://app.example.com/\u2028",
        "https://\uff41pp.example.com/",
        "https://app.example.com\u3002evil.example/",
        "https://[2001:db8::1]:8443@evil.example/",
        "javascript:alert(1)",
        "javascript://app/%0aalert(1)",
        "JavaScript://app/%0aalert(1)",
        "data:text/html,<script>",
        "vbscript:x",
        "blob:https://app.example.com/1",
        "file:///etc/passwd",
        "about:blank",
        "app:Notes",
        "myapp://other",
        "myapp://signed-in:80/",
        "myapp:signed-in",
        "myapp:///signed-in",
        "capacitor://evil",
        "null",
        "https://app.example.com/" + "a" * 2_000,
    ],
)
def test_everything_else_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest):
        check_redirect(uri, ORIGINS)


@given(st.text(alphabet=string.printable + "é\u3002\\", max_size=60), st.integers(0, 30))
def test_what_passes_leads_to_a_listed_origin_however_it_is_read(noise: str, at: int) -> None:
    base = "https://app.example.com/x"
    try:
        redirect = check_redirect(base[:at] + noise + base[at:], ORIGINS)
    except InvalidRequest:
        return
    read = urlsplit(redirect.uri)
    assert f"{read.scheme}://{read.netloc}" == redirect.origin
    assert redirect.origin in ORIGINS
    assert "\\" not in redirect.uri


@pytest.mark.parametrize(
    ("uri", "start", "end"),
    [
        ("https://app.example.com/", "https://app.example.com/?dxc-auth=", ""),
        ("https://app.example.com/a?b=1&c", "https://app.example.com/a?b=1&c&dxc-auth=", ""),
        ("https://app.example.com/a?b=1#/c?d=2", "https://app.example.com/a?b=1&dxc-auth=", "#/c?d=2"),
        ("https://app.example.com/?b=%2B+&b=2", "https://app.example.com/?b=%2B+&b=2&dxc-auth=", ""),
        ("https://app.example.com/?dxc-auth=old&b=1", "https://app.example.com/?b=1&dxc-auth=", ""),
        ("https://app.example.com/?dxc%2Dauth=old", "https://app.example.com/?dxc-auth=", ""),
        ("https://app.example.com/#dxc-auth=kept", "https://app.example.com/?dxc-auth=", "#dxc-auth=kept"),
        ("myapp://signed-in", "myapp://signed-in?dxc-auth=", ""),
    ],
)
def test_query_and_fragment_are_kept_and_an_old_mark_is_replaced(uri: str, start: str, end: str) -> None:
    made = with_code(check_redirect(uri, ORIGINS), code="c", provider="house", state="s")
    assert made.startswith(start)
    assert made.endswith(end)
    assert read(made) == {"code": "c", "provider": "house", "state": "s"}


def test_errors_are_ascii() -> None:
    page = check_redirect("https://app.example.com/", ORIGINS)
    made = with_error(page, error="Bäcker \u202e<b>", provider="house", state="s")
    assert made.isascii()
    assert read(made) == {"error": "B?cker ?<b>", "provider": "house", "state": "s"}


def read(uri: str) -> Any:
    """What the addon reads: base64url without padding, ASCII in it."""
    [value] = [value for name, value in parse_qsl(urlsplit(uri).query) if name == "dxc-auth"]
    assert "=" not in value
    raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    return json.loads(raw.decode("ascii"))
