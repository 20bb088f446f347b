"""Email addresses: one spelling for each, so that a person is one person. Pure.

The mail goes to the normalised address, never to what was typed: whoever can read the mail is who signs in.
"""

import ipaddress
import re
import unicodedata

import msgspec

from admit.accounts.domains import parse_domain
from admit.errors import InvalidRequest

ADDRESS_BYTES_MAX = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets
TYPED_CHARACTERS_MAX = 2 * ADDRESS_BYTES_MAX + 20
LOCAL_BYTES_MAX = 64  # RFC 5321 §4.5.3.1.1
DEMO_DOMAIN = "demo.local"

_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.]+")
"""RFC 5322 §3.2.3 atext, and the dots between atoms."""
_ON_BEHALF = re.compile(r"\s+as\s+", re.IGNORECASE)
_DOTLESS_DOMAINS = frozenset({"gmail.com", "googlemail.com"})


class Addressee(msgspec.Struct, frozen=True):
    """Whose mailbox gets a code, and whom its owner wants to sign in as ("": as themselves). Normalised."""

    email: str
    acting_for: str = ""


def addressee_of(text: str) -> Addressee:
    """Reads what was typed as an email: an address, or `owner@example.com as person@example.com`.

    Raises InvalidRequest. The second form is the Dexie Cloud contract's (§2), and never an address.
    """
    parts = _ON_BEHALF.split(text.strip()) if len(text) <= TYPED_CHARACTERS_MAX else [text]
    if len(parts) == 2:
        return Addressee(normalise_email(parts[0]), normalise_email(parts[1]))
    return Addressee(normalise_email(text))


def normalise_email(text: str) -> str:
    """The one spelling of the address `text`: lower case, Unicode NFC, the domain in ASCII.

    Raises InvalidRequest with a sentence for the person. Quoted local parts (RFC 5321 §4.1.2), address
    literals and domains of one label are refused: nobody's mail arrives there by way of the internet.
    """
    address = text.strip()
    if len(address) > ADDRESS_BYTES_MAX:
        raise InvalidRequest(f"The email address is longer than {ADDRESS_BYTES_MAX} characters.")
    if _ON_BEHALF.search(address):
        raise InvalidRequest("One email address is needed here, not somebody as somebody else.")
    local, at, domain = address.partition("@")
    if not at or "@" in domain:
        raise InvalidRequest("An email address has exactly one @. Type it like name@example.com.")
    normalised = f"{_normalise_local(local)}@{parse_domain(domain)}"
    if len(normalised.encode()) > ADDRESS_BYTES_MAX:
        raise InvalidRequest(f"The email address is longer than {ADDRESS_BYTES_MAX} bytes.")
    return normalised


def is_demo(email: str) -> bool:
    """Whether the normalised `email` belongs to a demo user, who has no mailbox."""
    return email.rpartition("@")[2] == DEMO_DOMAIN


def mailbox_of(email: str) -> str:
    """The mailbox behind a normalised `email`, for counting only: `+tags` cut, and dots where Google does.

    Never an identity: elsewhere these may be different people.
    """
    local, _, domain = email.rpartition("@")
    local = local.partition("+")[0] or local
    if domain in _DOTLESS_DOMAINS:
        return f"{local.replace('.', '')}@gmail.com"
    return f"{local}@{domain}"


def network_of(address: str) -> str:
    """What one client can choose its address from: itself for IPv4, its /64 for IPv6. For counting only.

    Returns "" where `address` is not an IP address, such as for a Unix socket.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _normalise_local(text: str) -> str:
    local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    if not local or local.startswith(".") or local.endswith(".") or ".." in local:
        raise InvalidRequest("Something is missing or doubled before the @ of the email address.")
    # RFC 6531 adds whatever is not ASCII, of which we take what is neither invisible nor a space.
    beyond = _ATOMS.sub("", local)
    if any(each.isascii() or unicodedata.category(each)[0] in "CZ" for each in beyond):
        raise InvalidRequest("The email address has a character that does not belong before the @.")
    if len(local.encode()) > LOCAL_BYTES_MAX:
        raise InvalidRequest(f"The email address has more than {LOCAL_BYTES_MAX} bytes before its @.")
    return local
