"""The authorization request (RFC 6749 §4.1.1): where a person is sent to prove who they are. Pure."""

from urllib.parse import urlencode

from admit.accounts.providers import Provider
from admit.signin.providers.metadata import Metadata


def authorization_url(
    provider: Provider, metadata: Metadata, *, redirect_uri: str, state: str, nonce: str, challenge: str
) -> str:
    """The address with everything in it; what stood behind its ? stays. PKCE is always S256."""
    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(_scopes(provider)),
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    if provider.speaks_oidc:
        asked["nonce"] = nonce
    if provider.response_mode != "query":
        asked["response_mode"] = provider.response_mode
    query = urlencode({name: value for name, value in asked.items() if value})
    endpoint = metadata.authorization_endpoint
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"


def _scopes(provider: Provider) -> tuple[str, ...]:
    """Without openid there is no ID token (OpenID Connect Core 1.0 §3.1.2.1); Apple asks for it by itself."""
    needed = provider.speaks_oidc and provider.type != "apple" and "openid" not in provider.scopes
    return ("openid", *provider.scopes) if needed else provider.scopes
