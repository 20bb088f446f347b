"""What a sign-in has established. Every method ends in a Proof; enrollment starts from one."""

import base64
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Literal, assert_never

import msgspec

from admit.accounts.apps import App
from admit.accounts.devices import NOT_SENT, DeviceSent
from admit.accounts.identities import CLIENT_ISSUER as CLIENT_ISSUER
from admit.accounts.identities import EMAIL_ISSUER as EMAIL_ISSUER
from admit.accounts.keys import PublicKey
from admit.errors import Forbidden, InvalidRequest
from admit.events.catalog import SignIn
from admit.signin.email_addresses import normalise_email as normalise_email

Intent = Literal["", "login", "register"]
Method = Literal["email_code", "client_credentials", "sso", "token_exchange"]
VisitMethod = Literal["demo", "acting"]

PERSON_SCOPES = ("ACCESS_DB",)


class UnknownHere(msgspec.Struct, frozen=True):
    """What somebody is told whose identity leads to nobody: `code` for programs, `message` for people."""

    code: str
    message: str


NOBODY = UnknownHere("USER_NOT_REGISTERED", "Nobody is known here by this account.")


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Who is at the door, and how we know.

    `user_id` is who that is in the app; "" is somebody who can only be known by issuer and subject already,
    and `refusal` what they are told if they are not.
    `email` is "" when unknown, and `email_verified` tells whether the person, or an API client for them, has
    proven it. `unproven`: an API client says that anybody may have typed the address that `user_id` is.
    `device` is what the client says of where it runs. Without a `public_key` there is no session to refresh.
    `provider` is the name of the one that has vouched, `claims` what its mapping has kept, and `sign_in_code`
    the digest of the code that is spent by this login.
    """

    method: Method
    issuer: str
    subject: str
    user_id: str
    email: str
    email_verified: bool
    unproven: bool = False
    name: str = ""
    intent: Intent = ""
    device: DeviceSent = NOT_SENT
    public_key: PublicKey | None = None
    client_id: str | None = None
    scopes: tuple[str, ...] = PERSON_SCOPES
    otp_id: str | None = None
    provider: str = ""
    claims: Mapping[str, Any] = {}
    sign_in_code: str | None = None
    refusal: UnknownHere = NOBODY
    address: str = ""

    @property
    def way_in(self) -> str:
        """The provider's name, else the method: by it an app may have policies and seats of their own."""
        return self.provider or self.method

    @property
    def sign_in(self) -> SignIn:
        """What events tell of it. Whose the identity is and who vouched for it are two things."""
        vouched = self.method == "client_credentials"
        return SignIn(
            method=self.method, provider=self.provider or (CLIENT_ISSUER if vouched else self.issuer)
        )


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
