"""What a sign-in has established. Every method ends in a Proof; enrollment starts from one."""

from collections.abc import Sequence
from typing import Literal, assert_never

import msgspec

from admit.accounts.apps import App
from admit.accounts.keys import PublicKey
from admit.errors import Forbidden
from admit.signin.email_addresses import normalise_email as normalise_email
from admit.storage.sealing import KeyRing

Intent = Literal["", "login", "register"]
Method = Literal["email_code", "client_credentials"]

EMAIL_ISSUER = "email"
"""Issuer of identities whose subject is an email address that its owner has proven."""
CLIENT_ISSUER = "client"
"""Issuer of identities whose subject is a userId that an API client of the app has vouched for."""

PERSON_SCOPES = ("ACCESS_DB",)


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Who is at the door, and how we know.

    `user_id` is who that is in the app. `email` is "" when unknown, and `email_verified` tells whether the
    person, or an API client for them, has proven it. Without a `public_key` there is no session to refresh.
    """

    method: Method
    issuer: str
    subject: str
    user_id: str
    email: str
    email_verified: bool
    name: str = ""
    intent: Intent = ""
    public_key: PublicKey | None = None
    client_id: str | None = None
    scopes: tuple[str, ...] = PERSON_SCOPES
    otp_id: str | None = None
    address: str = ""


def user_id_of_email(app: App, ring: KeyRing, email: str) -> str:
    """The userId in `app` of the owner of `email`, which is normalised.

    In apps with opaque ids it is a keyed hash. The oldest key of the ring makes it, so that a new key in
    front does not turn residents into strangers.
    """
    match app.user_ids:
        case "email":
            return email
        case "opaque":
            return "usr-" + ring.digests("user-id", f"{app.app_id}/{email}")[-1]
        case _:
            assert_never(app.user_ids)


def scopes_of_person(asked: Sequence[str]) -> tuple[str, ...]:
    """What a person's own sign-in grants: ACCESS_DB, whether asked for or not. Raises Forbidden beyond it."""
    for scope in asked:
        if scope not in PERSON_SCOPES:
            raise Forbidden(f"Signing in does not grant {scope[:40]!r}. Ask for ACCESS_DB.")
    return PERSON_SCOPES
