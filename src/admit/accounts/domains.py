"""Domain names and the addresses behind them in the one spelling by which they are compared. Pure."""

import ipaddress
import re
import unicodedata

import idna

from admit.errors import InvalidRequest

DOMAIN_CHARACTERS_MAX = 253  # RFC 1035 §2.3.4
EMAIL_BYTES_MAX = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


def parse_domain(text: str) -> str:
    """The domain name `text` in lower case and ASCII (IDNA 2008, UTS 46), without a dot at its end.

    Raises InvalidRequest, also for one label alone (`com`, `localhost`) and for IP addresses.
    """
    host = parse_host_name(text)
    labels = host.split(".")
    if len(labels) < 2 or labels[-1].isdigit():
        raise InvalidRequest(f"{text[:80]!r} is not a domain. Write it like example.com.")
    return host


def parse_host_name(text: str) -> str:
    """Like `parse_domain`, for any host name: one label will do."""
    name = text.removesuffix(".").lower()
    if not name.isascii() or "xn--" in name:
        name = _in_ascii(name)
    if len(name) > DOMAIN_CHARACTERS_MAX or not all(map(_LABEL.fullmatch, name.split("."))):
        raise InvalidRequest(f"{text[:80]!r} is not a host name. Write it like example.com.")
    return name


def _in_ascii(name: str) -> str:
    """`name` as the DNS has it; "" where there is no such form."""
    if len(name) > DOMAIN_CHARACTERS_MAX:
        return ""
    try:
        return idna.encode(name, uts46=True, std3_rules=True).decode().removesuffix(".")
    except UnicodeError:  # idna.IDNAError is one
        return ""


def parse_host(text: str) -> str:
    """The host `text` of a URL as browsers write it: a name, an IPv4 address or an IPv6 address in brackets.

    Raises InvalidRequest, also for the shorthand and octal forms of IPv4 (`127.1`, `0177.0.0.1`).
    """
    try:
        if text.startswith("[") and text.endswith("]") and "%" not in text:
            return f"[{ipaddress.IPv6Address(text[1:-1])}]"
        if text.rpartition(".")[2].isdigit():
            return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise InvalidRequest(f"{text[:80]!r} is not an IP address.") from error
    return parse_host_name(text)


def parse_owner(text: str) -> str:
    """The email address of an owner in the spelling that sign-in gives it. Raises InvalidRequest."""
    local, at, domain = unicodedata.normalize("NFC", text.strip()).partition("@")
    printable = all(each.isprintable() and not each.isspace() for each in local)
    if not local or not at or "@" in domain or not printable:
        raise InvalidRequest(f"{text[:80]!r} is not an email address. Write it like name@example.com.")
    email = f"{unicodedata.normalize('NFC', local.lower())}@{parse_domain(domain)}"
    if len(email.encode()) > EMAIL_BYTES_MAX:
        raise InvalidRequest(f"The email address is longer than {EMAIL_BYTES_MAX} bytes.")
    return email
