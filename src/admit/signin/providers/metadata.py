"""What a provider publishes about itself (OpenID Connect Discovery 1.0), and what of it is believed. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from admit.accounts.provider_presets import CONSUMERS_TENANT
from admit.accounts.providers import Provider
from admit.signin.providers.faults import METADATA, SETTING, fault, shown

TENANT_TEMPLATE = "{tenantid}"
TENANT_ALIASES = ("common", "organizations", "consumers")

SecretMethod = Literal["basic", "post"]

_TENANT_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_IN_TENANT = re.compile(r"(https?://[^/?#]+)/([^/?#]+)(/[^?#]*|)")
# Whoever signs in is sent there: nothing that a browser and we could read in two ways.
_FOR_BROWSERS = re.compile(r"(https?)://[A-Za-z0-9.\-_\[\]:]+(?:[/?][A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*)?")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider is asked, and how.

    `issuer`: of its ID tokens; Microsoft's may have {tenantid} in it. "" where there are none.
    `secret_method`: how a client shows its secret. `sends_iss`: whether its redirects name it (RFC 9207).
    The last three are what it supports, as far as it says; None where it does not.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str = ""
    jwks_uri: str = ""
    secret_method: SecretMethod = "basic"  # noqa: S105
    sends_iss: bool = False
    challenge_methods: tuple[str, ...] | None = None
    algorithms: tuple[str, ...] | None = None
    response_modes: tuple[str, ...] | None = None


def metadata_url(provider: Provider) -> str:
    """Where the discovery document of `provider` is. OpenID Connect Discovery 1.0 §4."""
    return provider.issuer.removesuffix("/") + "/.well-known/openid-configuration"


def configured_metadata(provider: Provider) -> Metadata:
    """Of a provider that publishes nothing: what its operator has set. Raises ProviderFault."""
    for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint"):
        if not getattr(provider, name):
            raise fault(provider, SETTING, f"The provider has no {name}: admit provider set.")
    return Metadata(
        issuer="",
        authorization_endpoint=_for_browsers(provider, provider.authorization_endpoint),
        token_endpoint=provider.token_endpoint,
        userinfo_endpoint=provider.userinfo_endpoint,
        # RFC 6749 §2.3.1 says Basic, GitHub's own documentation the body.
        secret_method="post" if provider.type == "github" else "basic",
    )


def read_metadata(provider: Provider, document: Mapping[str, Any]) -> Metadata:
    """What `document` says of `provider`, and how this client shows it its secret. Raises ProviderFault."""
    return replace(read_published(provider, document), secret_method=_secret_method(provider, document))


def read_published(provider: Provider, document: Mapping[str, Any]) -> Metadata:
    """What `document` says to every client: it depends on the type and the issuer of `provider` alone.

    Raises ProviderFault, first of all where it is about another issuer (Discovery 1.0 §4.3).
    """
    issuer = _issuer_of_tokens(provider, _text(provider, document, "issuer"))
    authorization = _text(provider, document, "authorization_endpoint")
    return Metadata(
        issuer=issuer,
        authorization_endpoint=_for_browsers(provider, authorization),
        token_endpoint=_text(provider, document, "token_endpoint"),
        userinfo_endpoint=_text(provider, document, "userinfo_endpoint", ""),
        jwks_uri=_text(provider, document, "jwks_uri"),
        sends_iss=document.get("authorization_response_iss_parameter_supported") is True,
        challenge_methods=_texts(document, "code_challenge_methods_supported"),
        algorithms=_texts(document, "id_token_signing_alg_values_supported"),
        response_modes=_texts(document, "response_modes_supported"),
    )


def is_tenant_id(text: object) -> bool:
    """Whether `text` is the id of one of Microsoft's tenants: a GUID in lower case."""
    return isinstance(text, str) and _TENANT_ID.fullmatch(text) is not None


def tenant_is_let_in(provider: Provider, tenant: str) -> bool:
    """Whether people of Microsoft's `tenant` may sign in, as far as the provider's setting says.

    The alias in its issuer says so too: organizations means no personal accounts, consumers means no others.
    """
    parts = _IN_TENANT.fullmatch(provider.issuer)
    match parts and parts.group(2):
        case "organizations" if tenant == CONSUMERS_TENANT:
            return False
        case "consumers" if tenant != CONSUMERS_TENANT:
            return False
    return not provider.tenants or tenant in provider.tenants


def redirect_names_provider(provider: Provider, metadata: Metadata, iss: str | None) -> bool:
    """Whether `iss`, which came back with the redirect, says that it is from this provider. RFC 9207 §2.4.

    A provider that publishes nothing may send its own spelling: of it only the origin is known.
    """
    if iss is None:
        return not metadata.sends_iss
    if not provider.speaks_oidc:
        return iss == provider.issuer or _origin(iss) == _origin(metadata.authorization_endpoint)
    if TENANT_TEMPLATE in metadata.issuer:
        before, _, after = metadata.issuer.partition(TENANT_TEMPLATE)
        named = iss.removeprefix(before).removesuffix(after)
        return iss == before + named + after and (is_tenant_id(named) or named == TENANT_TEMPLATE)
    return iss == metadata.issuer


def _issuer_of_tokens(provider: Provider, discovered: str) -> str:
    if discovered == provider.issuer:
        return discovered
    if provider.type == "microsoft":
        ours, theirs = _IN_TENANT.fullmatch(provider.issuer), _IN_TENANT.fullmatch(discovered)
        if ours and theirs and ours.group(1, 3) == theirs.group(1, 3):
            asked, named = ours.group(2), theirs.group(2)
            alias = asked in TENANT_ALIASES
            # A tenant may also be named by one of its domains, and then answers with its id.
            if (alias and named == TENANT_TEMPLATE) or (not is_tenant_id(asked) and is_tenant_id(named)):
                return discovered
    raise fault(
        provider,
        METADATA,
        f"The discovery document is about the issuer {shown(discovered)}, and the provider is set to "
        f"{provider.issuer!r}. Both must be the same, to the letter.",
    )


def _secret_method(provider: Provider, document: Mapping[str, Any]) -> SecretMethod:
    methods = _texts(document, "token_endpoint_auth_methods_supported")
    if provider.type == "apple":
        return "post"
    if methods is None or "client_secret_basic" in methods or not provider.client_secret:
        return "basic"
    if "client_secret_post" in methods:
        return "post"
    raise fault(
        provider,
        METADATA,
        f"The provider wants clients to prove themselves by {', '.join(methods)[:100]}; this server can do "
        "client_secret_basic and client_secret_post.",
    )


def _for_browsers(provider: Provider, url: str) -> str:
    parsed = _FOR_BROWSERS.fullmatch(url)
    if parsed is None or (parsed.group(1) == "http" and not provider.issuer.startswith("http://")):
        raise fault(
            provider,
            METADATA,
            f"People cannot be sent to the authorization endpoint {shown(url)}: it must be https.",
        )
    return url


def _text(provider: Provider, document: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = document.get(name, default)
    if not isinstance(value, str) or (not value and default is None):
        raise fault(provider, METADATA, f"The discovery document has no usable {name}.")
    return value


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = document.get(name)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else None


def _origin(url: str) -> str:
    return "/".join(url.split("/", 3)[:3]).lower()
