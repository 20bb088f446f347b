"""Providers of single sign-on: whom an app believes about people, and how far."""

from collections.abc import Mapping
from typing import Literal

import msgspec

ProviderType = Literal["google", "github", "microsoft", "apple", "oidc", "oauth2"]
Person = Literal["email", "subject"]
ResponseMode = Literal["query", "form_post"]

EVERY_DOMAIN = "*"
HOSTED_DOMAIN = "hd"
"""In `trusted_domains`: the domain that Google's claim `hd` names, whose mailboxes Google itself keeps."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One provider of an app, whole: what its type presets is filled in.

    `issuer`: of an OpenID Connect provider exactly as its discovery document has it; of others what
    identities are kept under. `client_secret` is "" for a public client; of apple it is the PKCS #8 PEM of
    the key that signs its client secrets.
    `person`: whom an identity that is seen for the first time leads to: the owner of its email, or somebody
    who is known by issuer and subject alone. `trusted_domains`: about whose emails the provider is believed.
    `tenants`: of microsoft, who may sign in; () means whom the issuer lets in. `audiences`: the clients whose
    ID tokens may be exchanged for ours; () means that none may.
    `claims`: a name of ours and where it stands in the provider's claims: names separated by dots, or a JSON
    pointer (RFC 6901). sub, email, email_verified and name replace what the standard has in their place.
    """

    name: str
    type: ProviderType
    display_name: str
    icon_url: str = ""
    issuer: str
    client_id: str
    client_secret: str = ""
    team_id: str = ""
    key_id: str = ""
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    userinfo_endpoint: str = ""
    emails_endpoint: str = ""
    scopes: tuple[str, ...] = ()
    response_mode: ResponseMode = "query"
    person: Person = "email"
    trusted_domains: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    claims: Mapping[str, str] = {}

    @property
    def speaks_oidc(self) -> bool:
        """Whether it has a discovery document and ID tokens."""
        return self.type not in ("github", "oauth2")

    def __repr__(self) -> str:
        """Without the secret: providers end up in tracebacks."""
        return f"Provider({self.name!r}, {self.type!r}, {self.issuer!r})"
