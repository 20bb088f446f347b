"""From a provider's claims to an identity, by the mapping that the provider's setting declares. Pure."""

import re
from collections.abc import Callable, Mapping
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import msgspec

from admit.accounts.domains import parse_domain
from admit.accounts.providers import EVERY_DOMAIN, HOSTED_DOMAIN, Provider
from admit.errors import InvalidRequest
from admit.outbound.strict_json import bytes_of
from admit.signin.email_addresses import is_demo, normalise_email
from admit.signin.identity import Identity
from admit.signin.providers.faults import USERINFO, fault, shown
from admit.signin.providers.id_token import is_subject

CLAIMS_BYTES_MAX = 8_192
NAME_CHARACTERS_MAX = 200
STANDARD = ("sub", "email", "email_verified", "name")

_LOWER_ASCII = str.maketrans(ascii_uppercase, ascii_lowercase)
_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")


class Mapped(msgspec.Struct, frozen=True):
    """An identity, and the names of claims that did not fit into CLAIMS_BYTES_MAX."""

    identity: Identity
    left_out: tuple[str, ...]


def mapped(
    provider: Provider,
    claims: Mapping[str, Any],
    *,
    issuer: str,
    subject: str,
    userinfo: Mapping[str, Any] | None = None,
) -> Mapped:
    """Who `claims` describe; they have been checked, and `issuer` and `subject` are settled.

    `userinfo` has what they lack. The email and whether it is verified come from the same of the two: what
    one says of an address is no word about another's.
    """
    both = claims if userinfo is None else {**userinfo, **claims}
    told = claims if userinfo is None or tells_email(provider, claims) else userinfo
    email = _email(_standard(provider, told, "email"))
    verified = bool(email) and _is_true(_standard(provider, told, "email_verified"))
    kept, left_out = _kept(provider, both)
    return Mapped(
        Identity(
            issuer=issuer,
            subject=subject,
            email=email,
            email_verified=verified,
            email_trusted=verified and trusts(provider, email, told),
            name=_line(_standard(provider, both, "name")),
            claims=kept,
        ),
        left_out,
    )


def wants_email(provider: Provider) -> bool:
    """Whether an email is asked for: by its scope, or by a place that the mapping names."""
    return "email" in provider.scopes or "email" in provider.claims


def tells_email(provider: Provider, claims: Mapping[str, Any]) -> bool:
    """Whether `claims` have an email, or what stands in its place."""
    return _standard(provider, claims, "email") is not None


def trusts(provider: Provider, email: str, claims: Mapping[str, Any]) -> bool:
    """Whether `provider` is believed about the domain of the normalised `email`.

    Domains are compared whole, in the one spelling that `parse_domain` gives them. Nobody is believed about
    demo users, who have no mailbox.
    """
    domain = email.rpartition("@")[2]
    if not domain or is_demo(email):
        return False
    if EVERY_DOMAIN in provider.trusted_domains or domain in provider.trusted_domains:
        return True
    # Anybody can send a claim `hd`; what Google's means is known.
    return (
        provider.type == "google"
        and HOSTED_DOMAIN in provider.trusted_domains
        and domain == _unchanged(claims.get("hd"), parse_domain)
    )


def subject_in(provider: Provider, claims: Mapping[str, Any]) -> str:
    """The subject in what plain OAuth 2 told of a person: the mapped `sub`, else `sub`, else `id`.

    Numbers are taken as they are written. Raises ProviderFault where there is none.
    """
    path = provider.claims.get("sub")
    found = at_path(claims, path) if path else claims.get("sub", claims.get("id"))
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str) or not is_subject(found):
        raise fault(provider, USERINFO, f"What it tells of the person has no usable sub: {shown(found)}.")
    return found


def at_path(claims: Mapping[str, Any], path: str) -> Any:
    """What stands at `path`: names separated by dots, or a JSON pointer (RFC 6901). None: nothing."""
    pointer = path.startswith("/")
    steps = path[1:].split("/") if pointer else path.split(".")
    found: Any = claims
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~") if pointer else step
        match found:
            case dict():
                found = found.get(name)
            case list() if pointer and _INDEX.fullmatch(name) and int(name) < len(found):
                found = found[int(name)]
            case _:
                return None
    return found


def _standard(provider: Provider, claims: Mapping[str, Any], name: str) -> Any:
    path = provider.claims.get(name)
    return at_path(claims, path) if path else claims.get(name)


def _kept(provider: Provider, claims: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The other claims of the mapping, in its order, as long as there is room."""
    kept: dict[str, Any] = {}
    left_out = []
    for name, path in provider.claims.items():
        value = None if name in STANDARD else at_path(claims, path)
        if value is None:
            continue
        if bytes_of(kept | {name: value}) > CLAIMS_BYTES_MAX:
            left_out.append(name)
        else:
            kept[name] = value
    return kept, tuple(left_out)


def _email(value: Any) -> str:
    """The address that a provider tells; "" where it is none, or where its normal form differs by more than
    ASCII case: what becomes the same here may be two mailboxes, and two people, there.
    """
    return _unchanged(value, normalise_email)


def _unchanged(value: Any, normalise: Callable[[str], str]) -> str:
    if not isinstance(value, str):
        return ""
    try:
        normal = normalise(value)
    except InvalidRequest:
        return ""
    return normal if normal == value.translate(_LOWER_ASCII) else ""


def _is_true(value: Any) -> bool:
    """Some write it as a text. Whatever else there is, such as 1, is no promise."""
    return value is True or value == "true"


def _line(value: Any) -> str:
    """One line of visible text."""
    if not isinstance(value, str):
        return ""
    visible = "".join(letter if letter.isprintable() else " " for letter in value)
    return visible.strip()[:NAME_CHARACTERS_MAX]
