"""Who is really calling: the forwarding headers of listed proxies are believed, everybody else's are not."""

import ipaddress
from collections.abc import Sequence

from admit.config import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address of the client behind `peer`: the right-most one that is not a trusted proxy.

    `forwarded_for`: the X-Forwarded-For headers in their order. What stands to the left of an untrusted
    address was written by a stranger and is never looked at.
    """
    current = _parsed(peer)
    if current is None:
        return peer
    hops = [hop for header in forwarded_for for hop in header.split(",")]
    while hops and _is_trusted(current, trusted):
        if (hop := _parsed(hops.pop())) is None:
            break
        current = hop
    return str(current)


def client_scheme(peer: str, scheme: str, forwarded_proto: Sequence[str], trusted: Sequence[Network]) -> str:
    """The scheme that the client used: what a trusted `peer` says in X-Forwarded-Proto, else `scheme`."""
    if not forwarded_proto or not is_trusted(peer, trusted):
        return scheme
    told = forwarded_proto[-1].rsplit(",", 1)[-1].strip().lower()
    return told if told in ("http", "https") else scheme


def is_trusted(peer: str, trusted: Sequence[Network]) -> bool:
    """Whether `peer` is a proxy whose forwarding headers are believed."""
    address = _parsed(peer) if trusted else None
    return address is not None and _is_trusted(address, trusted)


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted if network.version == address.version)


def _parsed(text: str) -> Address | None:
    """Reads an address as proxies write it, also with a port; None when it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address
