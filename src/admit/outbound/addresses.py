"""The egress policy: which addresses may be reached at all, and which URLs may be asked for. Pure.

Whoever may set a hook's URL can make the server talk to any machine that the server can see. So nothing but
the public internet may be reached, unless the operator has named it in EGRESS_ALLOW.
"""

import ipaddress
import re
from typing import NamedTuple

import msgspec
from yarl import URL

from admit.errors import ConfigError

URL_CHARACTERS_MAX = 2_048
EXAMPLE = "Example: ADMIT_EGRESS_ALLOW=receiver.internal,127.0.0.1:9000,10.20.0.0/16"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Allowance(msgspec.Struct, frozen=True):
    """One entry of EGRESS_ALLOW: a host name, or a network; for one port, or for all (None)."""

    host: str
    network: Network | None
    port: int | None


class Target(msgspec.Struct, frozen=True):
    """Where an accepted URL leads. `url` is what must be asked for: no other parser reads the text again."""

    url: URL
    host: str
    port: int


class EgressPolicy(msgspec.Struct, frozen=True):
    """What may be reached beside the public internet over HTTPS."""

    allowances: tuple[Allowance, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "EgressPolicy":
        """The policy of an EGRESS_ALLOW: host names, addresses (both with `:port` or without) and CIDR
        blocks, separated by commas. Raises ConfigError."""
        return cls(tuple(_allowance(entry.strip()) for entry in text.split(",") if entry.strip()))

    def refusal(self, host: str, address: str, port: int) -> str | None:
        """A sentence why `address`, which `host` is known by, must not be reached; None when it may be."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return f"{address!r} is not an IP address."
        reached = _address_behind(parsed)
        forbidden = _forbidden(reached)
        if forbidden is None:
            return None
        name = _plain_name(host)
        for allowance in self.allowances:
            if allowance.port not in (None, port):
                continue
            if allowance.network is not None:
                if parsed in allowance.network or reached in allowance.network:
                    return None
            elif allowance.host == name and forbidden.lifted_by_name:
                return None
        where = address if _plain_name(address) == name else f"{host} leads to {address}, which"
        remedy = "If it may be reached all the same, name it in ADMIT_EGRESS_ALLOW when the server starts."
        return f"{where} is {forbidden.what}. {remedy}"

    def url_refusal(self, url: str) -> str | None:
        """A sentence why `url` must not be asked for; None when it may be, as far as can be told without
        resolving its name."""
        target = self.aim(url)
        return target if isinstance(target, str) else None

    def aim(self, url: str) -> Target | str:
        """Where `url` leads, or a sentence why it must not be asked for."""
        problem = _malformed(url)
        if problem is not None:
            return problem
        try:
            parsed = URL(url)
        except ValueError:
            return "The URL cannot be read. Write it like https://hooks.example.com/new-user."
        host, port = parsed.raw_host, parsed.port
        if not host or not port:
            return "The URL names no host and port to reach."
        literal = _literal(host)
        if literal is None and not _NAME.fullmatch(host):
            return "The host of the URL is neither a name nor an address in its usual form (four numbers)."
        target = Target(parsed, _plain_name(host), port)
        if literal is not None and (refused := self.refusal(target.host, target.host, port)) is not None:
            return refused
        if parsed.scheme == "http" and not self._names(target.host, literal, port):
            return "The URL must begin with https://. Plain http is for hosts named in ADMIT_EGRESS_ALLOW."
        return target

    def _names(self, host: str, literal: Address | None, port: int) -> bool:
        """Whether the operator has named this very host."""
        return any(
            allowance.port in (None, port)
            and (
                allowance.host == host
                if allowance.network is None
                else literal is not None and literal in allowance.network
            )
            for allowance in self.allowances
        )


# URLs

# Whatever follows: two parsers must not be able to find two hosts in it.
_UNREADABLE = re.compile(r"[\x00-\x20\x7f\\]")
_START = re.compile(r"(https?)://([^/?#]+)", re.IGNORECASE)
# RFC 1123 §2.1 and the underscore of real life; a last label such as "1" or "0x7f" makes it an address that
# some resolvers accept in forms of their own (https://url.spec.whatwg.org/#ends-in-a-number-checker).
_NAME = re.compile(
    r"(?=.{1,254}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*"
    r"(?!(?:[0-9]+|0x[0-9a-f]*)\.?\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?",
)


def _malformed(url: str) -> str | None:
    if len(url) > URL_CHARACTERS_MAX:
        return f"The URL is longer than {URL_CHARACTERS_MAX} characters."
    if _UNREADABLE.search(url):
        return "The URL contains a space, a backslash or an invisible character."
    start = _START.match(url)
    if start is None:
        return "The URL must begin with https:// and a host."
    authority = start.group(2)
    if "@" in authority:
        return "The URL must not contain a user name or password."
    if "%" in authority:
        return "The host of the URL must be written without %."
    if "#" in url:
        return "The URL must not contain a fragment (#)."
    return None


def _plain_name(host: str) -> str:
    return host.lower().removesuffix(".")


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(_plain_name(host))
    except ValueError:
        return None


# Addresses


class _Range(NamedTuple):
    network: Network
    what: str
    lifted_by_name: bool


def _range(network: str, what: str, *, lifted_by_name: bool = False) -> _Range:
    """`lifted_by_name`: reachable through a host *name* in EGRESS_ALLOW. Others need their address in it,
    so that a name which goes astray does not lead to the cloud's credentials."""
    return _Range(ipaddress.ip_network(network), what, lifted_by_name)


_METADATA = "the metadata service of a cloud"

# The first match counts. https://www.iana.org/assignments/iana-ipv4-special-registry
_FORBIDDEN_V4 = (
    _range("169.254.169.254/32", _METADATA),
    _range("168.63.129.16/32", "the wire server of Azure"),
    _range("100.100.100.200/32", _METADATA),
    _range("192.0.0.192/32", _METADATA),
    _range("0.0.0.0/8", "an address of this host"),
    _range("10.0.0.0/8", "a private address", lifted_by_name=True),
    _range("100.64.0.0/10", "a shared address of a provider's own network", lifted_by_name=True),
    _range("127.0.0.0/8", "a loopback address", lifted_by_name=True),
    _range("169.254.0.0/16", "a link-local address"),
    _range("172.16.0.0/12", "a private address", lifted_by_name=True),
    _range("192.0.0.0/24", "reserved for protocols"),
    _range("192.0.2.0/24", "an address for documentation"),
    _range("192.31.196.0/24", "reserved for protocols"),
    _range("192.52.193.0/24", "reserved for protocols"),
    _range("192.88.99.0/24", "a 6to4 relay"),
    _range("192.168.0.0/16", "a private address", lifted_by_name=True),
    _range("192.175.48.0/24", "reserved for protocols"),
    _range("198.18.0.0/15", "an address for benchmarks", lifted_by_name=True),
    _range("198.51.100.0/24", "an address for documentation"),
    _range("203.0.113.0/24", "an address for documentation"),
    _range("224.0.0.0/4", "a multicast address"),
    _range("255.255.255.255/32", "the broadcast address"),
    _range("240.0.0.0/4", "reserved"),
)

# https://www.iana.org/assignments/iana-ipv6-special-registry
_FORBIDDEN_V6 = (
    _range("fd00:ec2::254/128", _METADATA),
    _range("fd20:ce::254/128", _METADATA),
    _range("::/128", "an address of this host"),
    _range("::1/128", "a loopback address", lifted_by_name=True),
    _range("::/96", "an IPv4-compatible address"),
    _range("64:ff9b:1::/48", "a NAT64 address for local use"),
    _range("2001::/32", "a Teredo address"),
    _range("2001:2::/48", "an address for benchmarks"),
    _range("2001:10::/28", "an ORCHID, not an address"),
    _range("2001:20::/28", "an ORCHID, not an address"),
    _range("2001::/23", "reserved for protocols"),
    _range("2001:db8::/32", "an address for documentation"),
    _range("2002::/16", "a 6to4 address"),
    _range("2620:4f:8000::/48", "reserved for protocols"),
    _range("3fff::/20", "an address for documentation"),
    _range("fc00::/7", "a private address", lifted_by_name=True),
    _range("fe80::/10", "a link-local address"),
    _range("fec0::/10", "a site-local address"),
    _range("ff00::/8", "a multicast address"),
)
# Whatever is added outside of this block some day (5f00::/16 for SRv6 was) is not the public internet.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_OUTSIDE_V6 = _range("::/0", "outside of the public internet")

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


def _address_behind(address: Address) -> Address:
    """The IPv4 address that a packet to `address` would end at, where `address` embeds one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    number = int(address)
    # RFC 6052 §2.1: in a network without IPv4, every public receiver has such an address.
    if address in _NAT64:
        return ipaddress.IPv4Address(number & 0xFFFF_FFFF)
    # RFC 5214 §6.1: the site's router unpacks it. A public network in front does not make it public.
    if address in _GLOBAL_V6 and (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        embedded = ipaddress.IPv4Address(number & 0xFFFF_FFFF)
        return embedded if _forbidden(embedded) else address
    return address


def _forbidden(address: Address) -> _Range | None:
    for each in _FORBIDDEN_V4 if address.version == 4 else _FORBIDDEN_V6:
        if address in each.network:
            return each
    return _OUTSIDE_V6 if address.version == 6 and address not in _GLOBAL_V6 else None


# EGRESS_ALLOW


def _allowance(entry: str) -> Allowance:
    if "/" in entry:
        try:
            return Allowance("", ipaddress.ip_network(entry), None)
        except ValueError as error:
            raise ConfigError(
                f"EGRESS_ALLOW has {entry!r}, which is no CIDR block ({error}). {EXAMPLE}"
            ) from None
    if (address := _literal(entry)) is not None:
        return Allowance("", ipaddress.ip_network(address), None)
    unreadable = ConfigError(
        f"EGRESS_ALLOW has {entry!r}, which is neither a host, an address nor a CIDR block. {EXAMPLE}"
    )
    if _malformed(f"http://{entry}") is not None or "?" in entry:
        raise unreadable
    try:
        parsed = URL(f"http://{entry}")
        host, port = parsed.raw_host, parsed.explicit_port
    except ValueError:
        raise unreadable from None
    if host and (address := _literal(host)) is not None:
        return Allowance("", ipaddress.ip_network(address), port)
    if not host or not _NAME.fullmatch(host):
        raise unreadable
    return Allowance(_plain_name(host), None, port)
