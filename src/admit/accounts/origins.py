"""Origins: which web pages and apps may call from a browser, in the spelling that browsers send. Pure."""

import re
from ipaddress import IPv4Address

from admit.accounts.domains import parse_host
from admit.errors import InvalidRequest

ORIGIN_CHARACTERS_MAX = 300

_APP = re.compile(r"app:[A-Za-z0-9][A-Za-z0-9._-]*")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_CUSTOM_HOST = re.compile(r"[a-z0-9._-]+")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_NATIVE_SCHEMES = frozenset({"capacitor", "ionic", "chrome-extension"})


def parse_origin(text: str, *, force: bool = False) -> str:
    """The origin `text` as an Origin header carries it (RFC 6454 §6.2): lower case, no default port or slash.

    Known forms are https://host[:port], http://localhost[:port], capacitor://…, ionic://…,
    chrome-extension://… and app:Name; `force` lets other schemes and plain http in, never `null` or
    a pattern. Raises InvalidRequest with a sentence that says what to write instead.
    """
    origin = text.strip()
    _refuse_unsafe(origin)
    if _APP.fullmatch(origin):
        return origin
    scheme, separator, authority = origin.partition("://")
    scheme = scheme.lower()
    if not separator or not _SCHEME.fullmatch(scheme):
        raise InvalidRequest(f"{origin!r} has no scheme. Write the origin like https://app.example.com.")
    authority = authority.removesuffix("/")
    if any(mark in authority for mark in "/?#\\@"):
        raise InvalidRequest(
            f"{origin!r} has more than an origin. Write only scheme, host and port: https://app.example.com."
        )
    host, port = _host_and_port(scheme, authority)
    if not force and not _is_known_form(scheme, host):
        raise InvalidRequest(_advice(scheme, host))
    return f"{scheme}://{host}{port}"


def _refuse_unsafe(origin: str) -> None:
    if len(origin) > ORIGIN_CHARACTERS_MAX:
        raise InvalidRequest(f"An origin has at most {ORIGIN_CHARACTERS_MAX} characters.")
    if not origin or not all(each.isprintable() and not each.isspace() for each in origin):
        raise InvalidRequest("An origin has no spaces. Write it like https://app.example.com.")
    if "*" in origin:
        raise InvalidRequest("An origin is one address, not a pattern. Add each origin by itself.")
    if origin.lower() == "null" or origin.lower().startswith("file:"):
        raise InvalidRequest(
            "Pages opened from a file send the origin 'null', as every other page can: it proves nothing. "
            "Serve the page, for example from http://localhost:3000."
        )


def _host_and_port(scheme: str, authority: str) -> tuple[str, str]:
    name, colon, digits = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        name, digits = authority, ""
    elif not (digits.isascii() and digits.isdigit() and 0 < int(digits[:6]) < 65_536):
        raise InvalidRequest(f"{digits[:20]!r} is not a port. Write a number from 1 to 65535.")
    if scheme in _DEFAULT_PORTS:
        host = parse_host(name)
    else:
        host = name.lower()
        if not _CUSTOM_HOST.fullmatch(host):
            raise InvalidRequest(f"{name[:80]!r} cannot stand behind {scheme}://.")
    is_default = digits == "" or int(digits) == _DEFAULT_PORTS.get(scheme)
    return host, "" if is_default else f":{int(digits)}"


def _is_known_form(scheme: str, host: str) -> bool:
    match scheme:
        case "https":
            return True
        case "http":
            return _is_this_machine(host)
        case _:
            return scheme in _NATIVE_SCHEMES


def _is_this_machine(host: str) -> bool:
    is_loopback = host.rpartition(".")[2].isdigit() and IPv4Address(host).is_loopback
    return is_loopback or host in ("localhost", "[::1]") or host.endswith(".localhost")


def _advice(scheme: str, host: str) -> str:
    if scheme == "http":
        return (
            f"http://{host} can be impersonated by anybody on the way; use https://, or http only for "
            "localhost. Add it with force if you must."
        )
    return f"{scheme}:// is not a scheme we know. Check the spelling, or add it with force."
