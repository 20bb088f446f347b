"""Apple's client secrets: short-lived tokens that a key from Apple's developer site signs.

Source: Sign in with Apple, "Creating a client secret".
"""

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from admit.accounts.providers import Provider
from admit.signin.providers.faults import SETTING, fault

AUDIENCE = "https://appleid.apple.com"
SECRET_SECONDS = 300


def client_secret(provider: Provider, now: int) -> str:
    """A client secret for the next five minutes; `now` in seconds. Raises ProviderFault."""
    if not provider.team_id or not provider.key_id:
        raise fault(provider, SETTING, "Apple needs the team id and the key id: admit provider set.")
    try:
        key = ECKey.import_key(provider.client_secret)
        header = {"alg": "ES256", "kid": provider.key_id}
        claims = {
            "iss": provider.team_id,
            "iat": now,
            "exp": now + SECRET_SECONDS,
            "aud": AUDIENCE,
            "sub": provider.client_id,
        }
        return jwt.encode(header, claims, key)
    except (JoseError, ValueError, TypeError):
        raise fault(
            provider,
            SETTING,
            "The key is not the one that Apple gave out: the text of its .p8 file, with both of its "
            "BEGIN and END lines.",
        ) from None
