"""What a sign-in has established. Every method ends in a Proof; enrollment starts from one."""

import base64
import hmac
from collections.abc import Sequence
from typing import Literal, assert_never

import msgspec

from admit.accounts.apps import App
from admit.accounts.devices import NOT_SENT, DeviceSent
from admit.accounts.keys import PublicKey
from admit.errors import Forbidden, InvalidRequest
from admit.events.catalog import SignIn
from admit.signin.email_addresses import normalise_email as normalise_email

Intent = Literal["", "login", "register"]
Method = Literal["email_code", "client_credentials"]
VisitMethod = Literal["demo", "acting"]

EMAIL_ISSUER = "email"
"""Issuer of identities whose subject is an email address that its owner has proven."""
CLIENT_ISSUER = "client"
"""Issuer of identities whose subject is a userId that an API client of the app has vouched for."""

PERSON_SCOPES = ("ACCESS_DB",)


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Who is at the door, and how we know.

    `user_id` is who that is in the app. `email` is "" when unknown, and `email_verified` tells whether the
    person, or an API client for them, has proven it. `device` is what the client says of where it runs.
    Without a `public_key` there is no session to refresh.
    """

    method: Method
    issuer: str
    subject: str
    user_id: str
    email: str
    email_verified: bool
    name: str = ""
    intent: Intent = ""
    device: DeviceSent = NOT_SENT
    public_key: PublicKey | None = None
    client_id: str | None = None
    scopes: tuple[str, ...] = PERSON_SCOPES
    otp_id: str | None = None
    address: str = ""

    @property
    def sign_in(self) -> SignIn:
        """What events tell of it. Whose the identity is and who vouched for it are two things."""
        vouched = self.method == "client_credentials"
        return SignIn(method=self.method, provider=CLIENT_ISSUER if vouched else self.issuer)


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may come in only as a person who lives here already. Nobody is enrolled by a visit.

    demo: anybody, as the demo user whose name they know. acting: the owner `actor`, who has proven that
    address, as somebody else. `user_ids`: spellings of who that is, the one that was meant first.
    """

    method: VisitMethod
    user_ids: tuple[str, ...]
    actor: str | None = None
    public_key: PublicKey
    scopes: tuple[str, ...] = PERSON_SCOPES
    otp_id: str | None = None
    address: str = ""

    @property
    def sign_in(self) -> SignIn:
        """What events tell of it. Who acts has proven the own mailbox."""
        return SignIn(method=self.method, provider="demo" if self.method == "demo" else EMAIL_ISSUER)


def user_id_of_email(app: App, email: str) -> str:
    """The userId in `app` of the owner of `email`, which is normalised.

    In apps with opaque ids it is a keyed hash. The key is the app's own, made with it and never changed, so
    that the keys of SECRET_KEY can be exchanged without turning residents into strangers.
    """
    match app.user_ids:
        case "email":
            return email
        case "opaque":
            made = hmac.digest(app.id_key.encode(), email.encode(), "sha256")
            return "usr-" + base64.urlsafe_b64encode(made).rstrip(b"=").decode()
        case _:
            assert_never(app.user_ids)


def user_id_as_known(app: App, given: str) -> str:
    """The userId `given` by a program as `app` spells it: an address as its mailed codes lead to.

    Apps with opaque ids, and what is no address, are left as they are.
    """
    if app.user_ids != "email":
        return given
    try:
        return normalise_email(given)
    except InvalidRequest:
        return given


def scopes_of_person(asked: Sequence[str]) -> tuple[str, ...]:
    """What a person's own sign-in grants: ACCESS_DB, whether asked for or not. Raises Forbidden beyond it."""
    for scope in asked:
        if scope not in PERSON_SCOPES:
            raise Forbidden(f"Signing in does not grant {scope[:40]!r}. Ask for ACCESS_DB.")
    return PERSON_SCOPES
