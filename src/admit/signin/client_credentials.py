"""Sign-in by an API client: for itself, or for a person whom the app's own backend vouches for.

RFC 6749 §4.4, with the `claims` of the Dexie Cloud contract.
"""

import base64
import binascii
from collections.abc import Sequence
from urllib.parse import unquote_plus

import msgspec

from admit.accounts.apps import App, Client
from admit.accounts.clients import check_secret
from admit.accounts.keys import PublicKey
from admit.accounts.users import fault_of_user_id, name_for_display
from admit.errors import Forbidden, InvalidClient, InvalidRequest
from admit.signin.email_addresses import is_demo, normalise_email
from admit.signin.proof import CLIENT_ISSUER, EMAIL_ISSUER, PERSON_SCOPES, Proof
from admit.storage.sealing import KeyRing

IMPERSONATE = "IMPERSONATE"
NAME_CHARACTERS_MAX = 1_000
WRONG_CREDENTIALS = "The client_id or the client_secret is wrong."
CLIENT_EXPIRED = "This API client has expired: another one has taken its place."


class Credentials(msgspec.Struct, frozen=True):
    """What a client presents."""

    client_id: str
    client_secret: str

    def __repr__(self) -> str:
        return f"Credentials({self.client_id!r})"


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a client vouches for. Other claims are ignored: nothing in a request makes a claim of its own.

    `email_verified` is OpenID Connect's (Core §5.1): the backend says that the person has proven the address.
    Where `sub` is an address, it is vouched for unless this says false.
    """

    sub: str = ""
    email: str | None = None
    email_verified: bool | None = None
    name: str | None = None


class ClientItself(msgspec.Struct, frozen=True, kw_only=True):
    """A program that signs in as itself: nobody enrolls. Without a `public_key` it gets no refresh token."""

    client_id: str
    scopes: tuple[str, ...]
    public_key: PublicKey | None
    address: str


def credentials_of(
    client_id: str | None, client_secret: str | None, authorization: str | None
) -> Credentials:
    """The credentials in a request's body or in its Authorization header. RFC 6749 §2.3.1.

    Raises InvalidRequest when both carry some (§2.3), InvalidClient when neither does.
    """
    scheme, _, encoded = (authorization or "").strip().partition(" ")
    if scheme.lower() != "basic":
        if not client_id or not client_secret:
            raise InvalidClient("client_id and client_secret are missing.")
        return Credentials(client_id, client_secret)
    basic = _read_basic(encoded)
    if client_secret is not None or client_id not in (None, basic.client_id):
        raise InvalidRequest("Send the client's credentials in the body or by HTTP Basic, not both.")
    return basic


def authenticate(app: App, ring: KeyRing, credentials: Credentials, now: int) -> Client:
    """The client whose secret was presented. Raises InvalidClient, the same for a wrong id or secret.

    Who has the secret of a client that has ended is told so: the `dexie-cloud` command connects anew then.
    """
    client = app.clients.get(credentials.client_id)
    # JSON can carry half a surrogate pair, which cannot be hashed. Our secrets are ASCII.
    secret = credentials.client_secret if credentials.client_secret.isascii() else ""
    if not check_secret(ring, client, secret) or client is None:
        raise InvalidClient(WRONG_CREDENTIALS)
    if not client.lives(now):
        raise InvalidClient(CLIENT_EXPIRED, code="client_expired")
    return client


def proof_of(
    app: App,
    client: Client,
    claims: Claims | None,
    *,
    scopes: Sequence[str],
    public_key: PublicKey | None,
    address: str,
) -> Proof | ClientItself:
    """What an authenticated `client` has established: itself, or with `claims` a person.

    Raises Forbidden for scopes that the client does not have (IMPERSONATE for `claims`), InvalidRequest for
    claims that cannot be a person's.
    """
    granted = _grant(client, scopes)
    if claims is None:
        return ClientItself(
            client_id=client.client_id, scopes=granted, public_key=public_key, address=address
        )
    if IMPERSONATE not in client.scopes:
        raise Forbidden("This client may not sign in for others: it lacks the scope IMPERSONATE.")
    who = _who(app, claims)
    if is_demo(who.user_id) or is_demo(who.email):
        raise InvalidRequest("Addresses at demo.local belong to demo users, who sign in by the grant demo.")
    return Proof(
        method="client_credentials",
        issuer=who.issuer,
        subject=who.user_id,
        user_id=who.user_id,
        email=who.email,
        email_verified=who.email_verified,
        unproven=who.unproven,
        name=who.name,
        public_key=public_key,
        client_id=client.client_id,
        scopes=granted,
        address=address,
    )


class _Who(msgspec.Struct, frozen=True, kw_only=True):
    issuer: str
    user_id: str
    email: str
    email_verified: bool
    unproven: bool = False
    name: str


def _who(app: App, claims: Claims) -> _Who:
    """Where userIds are addresses, a `sub` that is one means its owner: mailed codes lead to the same user.

    Then the backend vouches for the address itself. Otherwise `sub` is the userId as it stands, and
    `email` what somebody may have typed.
    """
    sub = claims.sub.strip()
    if fault := fault_of_user_id(sub):
        raise InvalidRequest(f"claims.sub is the userId. {fault}")
    if len(claims.name or "") > NAME_CHARACTERS_MAX:
        raise InvalidRequest(f"claims.name has more than {NAME_CHARACTERS_MAX} characters.")
    name = name_for_display(claims.name or "")
    email = normalise_email(claims.email) if claims.email else ""
    owner = _address_in(sub) if app.user_ids == "email" else ""
    if not owner:
        return _Who(
            issuer=CLIENT_ISSUER,
            user_id=sub,
            email=email,
            email_verified=bool(email) and claims.email_verified is True,
            name=name,
        )
    own = email in ("", owner)
    return _Who(
        issuer=EMAIL_ISSUER,
        user_id=owner,
        email=email or owner,
        email_verified=claims.email_verified is not False if own else claims.email_verified is True,
        unproven=claims.email_verified is False,
        name=name,
    )


def _address_in(sub: str) -> str:
    try:
        return normalise_email(sub)
    except InvalidRequest:
        return ""


def _grant(client: Client, asked: Sequence[str]) -> tuple[str, ...]:
    """What is asked for, if the client has all of it. Nothing asked for means what a person would get."""
    wanted = dict.fromkeys(asked or [scope for scope in PERSON_SCOPES if scope in client.scopes])
    for scope in wanted:
        if scope not in client.scopes:
            raise Forbidden(f"This client does not have the scope {scope[:40]!r}.")
    return tuple(wanted)


def _read_basic(encoded: str) -> Credentials:
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
        client_id, colon, secret = text.partition(":")
        presented = Credentials(
            unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
        )
    except (binascii.Error, ValueError) as error:
        raise InvalidClient("The Authorization header is not HTTP Basic with UTF-8. RFC 7617.") from error
    if not colon or not presented.client_id or not presented.client_secret:
        raise InvalidClient("The Authorization header lacks the client_id or the client_secret.")
    return presented
