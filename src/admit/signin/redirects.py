"""Where a sign-in by a provider may end: at pages and apps of the app's own origins, and nowhere else. Pure.

What a browser is sent to is put together anew from the origin that was found in the list, so that nobody
has to read an address in the same way as a browser does.
"""

import base64
import re
from collections.abc import Collection
from urllib.parse import unquote_plus

import msgspec

from admit.accounts.origins import parse_origin
from admit.errors import InvalidRequest

REDIRECT_CHARACTERS_MAX = 2_000
MARK = "dxc-auth"
"""The parameter that the addon looks for in its page's address."""

_URL = re.compile(r"[!$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~{|}^`#]+")
"""RFC 3986 §2, and what browsers leave as it is in a query (URL standard §1.3)."""
_SCRIPTS = frozenset({"javascript", "vbscript", "data", "blob", "file", "filesystem", "about", "view-source"})
_WEB = ("https", "http")


class Redirect(msgspec.Struct, frozen=True):
    """A checked address, and the origin of the app's that it is at."""

    uri: str
    origin: str

    @property
    def is_web(self) -> bool:
        """Whether a browser shows it, which then tells its origin with every request."""
        return self.origin.partition("://")[0] in _WEB


def check_redirect(text: str, origins: Collection[str]) -> Redirect:
    """Where `text` leads, if its origin is one of `origins`. Raises InvalidRequest with a sentence.

    Scheme, host and port must be the same, also those of custom schemes; path, query and fragment are free.
    """
    if not text:
        raise InvalidRequest("redirect_uri is missing: the address of the page to come back to.")
    if len(text) > REDIRECT_CHARACTERS_MAX:
        raise InvalidRequest(f"redirect_uri has more than {REDIRECT_CHARACTERS_MAX} characters.")
    if not _URL.fullmatch(text):
        raise InvalidRequest("redirect_uri has a character that does not belong in an address.")
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() in _SCRIPTS:
        raise InvalidRequest("redirect_uri is no address of a page, such as https://app.example.com/start.")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    try:
        origin = parse_origin(f"{scheme}://{authority}", force=True)
    except InvalidRequest:
        origin = ""
    if origin not in origins:
        raise InvalidRequest("redirect_uri is not at an origin of this app. Its operator can allow it.")
    if origin.startswith(("https://", "http://")) and not tail.startswith("/"):
        tail = "/" + tail
    return Redirect(origin + tail, origin)


def with_code(redirect: Redirect, *, code: str, provider: str, state: str) -> str:
    """`redirect` with what the addon exchanges at /token."""
    return _marked(redirect.uri, {"code": code, "provider": provider, "state": state})


def with_error(redirect: Redirect, *, error: str, provider: str, state: str) -> str:
    """`redirect` with a sentence that the addon shows as it is. It is read as ASCII."""
    told = error.encode("ascii", "replace").decode()
    return _marked(redirect.uri, {"error": told, "provider": provider, "state": state})


def _marked(uri: str, told: dict[str, str]) -> str:
    """`uri` with `told` as its only dxc-auth; the rest of the query and the fragment stay as they are."""
    rest, hash_, fragment = uri.partition("#")
    path, _, query = rest.partition("?")
    kept = [pair for pair in query.split("&") if pair and unquote_plus(pair.partition("=")[0]) != MARK]
    value = base64.urlsafe_b64encode(msgspec.json.encode(told)).rstrip(b"=").decode()
    return f"{path}?{'&'.join([*kept, f'{MARK}={value}'])}{hash_}{fragment}"
