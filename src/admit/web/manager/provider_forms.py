"""The form of a provider: what its fields show, and what of it is to be changed. Pure."""

import re
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from admit.accounts.provider_changes import ProviderChange
from admit.accounts.provider_presets import preset
from admit.accounts.providers import ProviderType
from admit.errors import InvalidRequest
from admit.web.admin_providers_api import ProviderView
from admit.web.manager.forms import Form

TYPES: tuple[ProviderType, ...] = get_args(ProviderType)
LISTS = ("scopes", "trusted_domains", "tenants", "audiences")
TEXTS = (
    "client_id",
    "display_name",
    "issuer",
    "team_id",
    "key_id",
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "emails_endpoint",
    "icon_url",
    "response_mode",
    "person",
)
CHOICES = ("response_mode", "person")
"""Those of TEXTS that are chosen from a list."""
FIELDS = (*TEXTS, *LISTS, "claims")
SECRET = "client_secret"  # noqa: S105  (the name of the field)

_EMPTY_IS_NONE = frozenset({"trusted_domains", "tenants", "audiences"})
"""Lists that may be emptied; of the others an empty field means what the type presets."""
_EMPTY_STAYS = frozenset({"client_id"})
_BETWEEN = re.compile(r"[\s,]+")

LABELS: Mapping[str, str] = {
    "name": "Name in addresses",
    "client_id": "Client ID",
    "client_secret": "Client secret",
    "display_name": "Name on the button",
    "issuer": "Issuer",
    "team_id": "Team ID",
    "key_id": "Key ID",
    "authorization_endpoint": "Authorization endpoint",
    "token_endpoint": "Token endpoint",
    "userinfo_endpoint": "Userinfo endpoint",
    "emails_endpoint": "Emails endpoint",
    "icon_url": "Icon",
    "response_mode": "How people are sent back",
    "person": "Who a newcomer is",
    "scopes": "Scopes",
    "trusted_domains": "Believed about",
    "tenants": "Organizations",
    "audiences": "Token exchange",
    "claims": "Claims to keep",
}
"""What the fields are called on the page."""


def of_provider(view: ProviderView) -> dict[str, str]:
    """The fields of a provider that there is."""
    return _written({name: getattr(view, name) for name in FIELDS}, _own_claims(view.type, view.claims))


def of_type(kind: ProviderType) -> dict[str, str]:
    """The fields of a provider that is to be added: what its type presets. Its claims are not shown."""
    fields = dict.fromkeys(TEXTS, "") | dict.fromkeys(LISTS, ())
    usual = {"response_mode": "query", "person": "email"}
    return _written(fields | usual | preset(kind), {})


def typed(form: Form) -> dict[str, str]:
    """The fields as they were typed, to show them again: all but the secret."""
    return {name: form.text(name) for name in FIELDS}


def change_of(form: Form, shown: Mapping[str, str]) -> dict[str, Any]:
    """What is to be changed where `shown` stood: fields of ProviderChange. Raises InvalidRequest."""
    given = typed(form)
    change = {name: _read(name, given[name]) for name in FIELDS if given[name] != shown[name]}
    secret = form.verbatim(SECRET).strip()
    if form.flag("public"):
        if secret:
            raise InvalidRequest("A public client has no client_secret. Leave one of the two empty.")
        change[SECRET] = ""
    elif secret:
        change[SECRET] = secret
    return change


def place_of(sentence: str) -> str:
    """The field that a refusal is about; "" where it names none of them."""
    typed_in = {*FIELDS, SECRET} - {*CHOICES}
    found = [(sentence.find(name), name) for name in typed_in if name in sentence]
    return min(found)[1] if found else ""


def visible(kind: ProviderType) -> frozenset[str]:
    """The fields that stand there before "More settings" is opened."""
    endpoints = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint") if kind == "oauth2" else ()
    usual = ("client_id", SECRET, "team_id", "key_id", "person", "trusted_domains", "tenants")
    return frozenset((*usual, *endpoints, *(("issuer",) if kind == "oidc" else ())))


def is_change(fields: Mapping[str, Any]) -> ProviderChange:
    """The change that the fields make. Raises InvalidRequest where a choice is none of those there are."""
    try:
        return msgspec.convert(fields, ProviderChange)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The form cannot be used: {error}.") from None


def _own_claims(kind: ProviderType, claims: Mapping[str, str]) -> dict[str, str]:
    presets = preset(kind).get("claims", {})
    return {name: path for name, path in claims.items() if presets.get(name) != path}


def _written(fields: Mapping[str, Any], claims: Mapping[str, str]) -> dict[str, str]:
    texts = {name: str(fields[name]) for name in TEXTS}
    lists = {name: ("\n" if name == "trusted_domains" else " ").join(fields[name]) for name in LISTS}
    return {**texts, **lists, "claims": "\n".join(f"{name} = {path}" for name, path in claims.items())}


def _read(name: str, text: str) -> object:
    if name == "claims":
        return _claims(text)
    if name in LISTS:
        parts = tuple(each for each in _BETWEEN.split(text) if each)
        return parts if parts or name in _EMPTY_IS_NONE else None
    return text if text or name in _EMPTY_STAYS else None


def _claims(text: str) -> dict[str, str]:
    claims = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, path = (part.strip() for part in line.partition("="))
        if not (name or equals):
            continue
        if not (name and equals and path):
            raise InvalidRequest(
                f"claims, line {number}: write a name and its place, such as groups = groups."
            )
        claims[name] = path
    return claims
