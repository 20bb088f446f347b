"""From an identity to a proof: whom somebody whom a provider vouches for is in the app. Pure.

Issuer and subject are the identity. Its email leads to a user only where the provider says that it is
verified and is trusted for its domain; the rest is known by issuer and subject, or not at all.
"""

import base64
import hashlib
import hmac
from typing import Literal

from admit.accounts.apps import App
from admit.accounts.devices import DeviceSent
from admit.accounts.keys import PublicKey
from admit.accounts.providers import Provider
from admit.errors import EMAIL_MISSING, EMAIL_NOT_TRUSTED, EMAIL_NOT_VERIFIED
from admit.signin.email_addresses import is_demo
from admit.signin.identity import Identity
from admit.signin.proof import Intent, Proof, UnknownHere, user_id_of_email

SsoMethod = Literal["sso", "token_exchange"]

SUBJECT_PREFIX = "idp-"
"""Of userIds made from issuer and subject."""

EXPIRED = "This sign-in has expired or was used already. Begin again."
NO_EMAIL = "{provider} did not tell your email address. Sign in with another account or in another way."
NOT_VERIFIED = "{provider} has not verified your email address. Verify it there, or sign in in another way."
NOT_TRUSTED = "{provider} is not accepted here for addresses at {domain}. Sign in in another way."


def proof_of(
    app: App,
    provider: Provider,
    identity: Identity,
    *,
    method: SsoMethod,
    scopes: tuple[str, ...],
    sign_in_code: str,
    public_key: PublicKey | None,
    device: DeviceSent,
    intent: Intent = "",
    address: str = "",
) -> Proof:
    """The proof that `identity` is at the door.

    An email that is not trusted goes no further: neither a hook nor a backend of the app could tell it from
    one that is.
    """
    return Proof(
        method=method,
        issuer=identity.issuer,
        subject=identity.subject,
        user_id=user_id_of(app, provider, identity),
        email=identity.email if identity.email_trusted else "",
        email_verified=identity.email_trusted,
        name=identity.name,
        intent=intent,
        device=device,
        public_key=public_key,
        scopes=scopes,
        provider=provider.name,
        claims=identity.claims,
        sign_in_code=sign_in_code,
        refusal=refusal_of(provider, identity),
        address=address,
    )


def user_id_of(app: App, provider: Provider, identity: Identity) -> str:
    """The userId that an identity leads to when it is seen for the first time; "" where it leads nowhere."""
    if provider.person == "subject":
        return _user_id_of_subject(app, identity)
    if not identity.email_trusted or is_demo(identity.email):
        return ""
    return user_id_of_email(app, identity.email)


def refusal_of(provider: Provider, identity: Identity) -> UnknownHere:
    """Why the email of the identity leads nowhere, in a sentence for the person."""
    told = provider.display_name
    if not identity.email:
        return UnknownHere(EMAIL_MISSING, NO_EMAIL.format(provider=told))
    if not identity.email_verified:
        return UnknownHere(EMAIL_NOT_VERIFIED, NOT_VERIFIED.format(provider=told))
    domain = identity.email.rpartition("@")[2]
    return UnknownHere(EMAIL_NOT_TRUSTED, NOT_TRUSTED.format(provider=told, domain=domain))


def _user_id_of_subject(app: App, identity: Identity) -> str:
    """Nobody else gets this userId: it says issuer and subject, in apps with opaque ids under their key."""
    who = f"{identity.issuer}\n{identity.subject}".encode()
    made = hmac.digest(app.id_key.encode(), who, "sha256") if app.id_key else hashlib.sha256(who).digest()
    return SUBJECT_PREFIX + base64.urlsafe_b64encode(made).rstrip(b"=").decode()
