"""API clients at the door: for themselves, or for people whom the app's own backend vouches for."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.accounts.app_settings import AppSettings, PolicySetting
from admit.accounts.apps import App, Client, load_app
from admit.accounts.clients import NewClient, create_client, revoke_client, rotate_client
from admit.errors import AdmitError, Forbidden, InvalidClient, InvalidRequest
from admit.signin.client_credentials import (
    WRONG_CREDENTIALS,
    Claims,
    ClientItself,
    Credentials,
    authenticate,
    credentials_of,
    proof_of,
)
from admit.signin.proof import Proof
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from tests.contract.signin_desk import ADDRESS, NOON, Desk, SetClock, an_app, device

BACKEND = ("ACCESS_DB", "IMPERSONATE", "GLOBAL_READ")
APP = App(
    app_id="app_1",
    name="notes",
    user_ids="email",
    policy=PolicySetting(),
    policy_version=1,
    settings=AppSettings(),
    owners=frozenset(),
    origins=frozenset(),
    clients={},
    hook_secret="",
    version=1,
)


class Backend:
    """An app with one API client."""

    def __init__(self, db: Database, ring: KeyRing, app: App, new: NewClient) -> None:
        self.db = db
        self.ring = ring
        self.app = app
        self.new = new

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.new.client_id, self.new.client_secret)

    @property
    def client(self) -> Client:
        return self.app.clients[self.new.client_id]

    def vouch(self, claims: Claims | None, **changes: Any) -> Proof | ClientItself:
        request: dict[str, Any] = {"scopes": ["ACCESS_DB"], "public_key": None, "address": ADDRESS}
        return proof_of(self.app, self.client, claims, **(request | changes))

    def proof(self, claims: Claims, **changes: Any) -> Proof:
        proof = self.vouch(claims, **changes)
        assert isinstance(proof, Proof)
        return proof


async def a_backend(
    database: Database, ring: KeyRing, *, scopes: tuple[str, ...] = BACKEND, opaque: bool = False
) -> Backend:
    app = await an_app(database, ring, user_ids="opaque" if opaque else "email")
    new = await database.write(lambda tx: create_client(tx, ring, app.app_id, scopes, None, NOON))
    return Backend(database, ring, await reload(database, ring, app), new)


async def reload(database: Database, ring: KeyRing, app: App) -> App:
    found = await database.read(lambda tx: load_app(tx, ring, app.app_id))
    assert found is not None
    return found


@pytest.fixture
async def backend(database: Database, ring: KeyRing) -> Backend:
    """A client that may vouch for people."""
    return await a_backend(database, ring)


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


# Who asks


async def test_the_secret_opens_its_own_client_only(backend: Backend) -> None:
    other = await a_backend(backend.db, backend.ring)
    app, ring, mine, others = backend.app, backend.ring, backend.credentials, other.credentials
    assert authenticate(app, ring, mine, NOON).client_id == mine.client_id
    wrong = [
        others,
        Credentials(mine.client_id, others.client_secret),
        Credentials(others.client_id, mine.client_secret),
        Credentials(mine.client_id, mine.client_secret + " "),
        Credentials(mine.client_id, backend.client.secret_digest),
        Credentials("cli_unknown", mine.client_secret),
        Credentials("", ""),
        Credentials("\ud800", "\ud800"),
        Credentials(mine.client_id, "é" * 60_000),
    ]
    for credentials in wrong:
        with pytest.raises(InvalidClient) as caught:
            authenticate(app, ring, credentials, NOON)
        assert caught.value.message == WRONG_CREDENTIALS


async def test_a_revoked_or_rotated_secret_opens_nothing(backend: Backend) -> None:
    app_id, client_id = backend.app.app_id, backend.new.client_id
    new = await backend.db.write(lambda tx: rotate_client(tx, backend.ring, app_id, client_id, NOON + 1))
    assert new is not None
    app = await reload(backend.db, backend.ring, backend.app)
    with pytest.raises(InvalidClient):
        authenticate(app, backend.ring, backend.credentials, NOON)
    assert authenticate(app, backend.ring, Credentials(client_id, new.client_secret), NOON)
    await backend.db.write(lambda tx: revoke_client(tx, app_id, client_id, NOON + 2))
    app = await reload(backend.db, backend.ring, backend.app)
    with pytest.raises(InvalidClient):
        authenticate(app, backend.ring, Credentials(client_id, new.client_secret), NOON)


@pytest.mark.parametrize(
    ("client_id", "secret", "authorization"),
    [
        ("cli_1", "s%3Acret", None),
        ("cli_1", "s%3Acret", "Bearer abc"),
        (None, None, basic("cli_1", "s%253Acret")),
        ("cli_1", None, basic("cli_1", "s%253Acret").replace("Basic", "bAsIc")),
    ],
)
def test_credentials_are_read_from_the_body_or_from_basic(
    client_id: str | None, secret: str | None, authorization: str | None
) -> None:
    """RFC 6749 §2.3.1: in Basic, both are form-encoded first."""
    assert credentials_of(client_id, secret, authorization) == Credentials("cli_1", "s%3Acret")


def test_a_form_encoded_colon_belongs_to_the_secret() -> None:
    assert credentials_of(None, None, basic("cli%3A1", "a:b+c")) == Credentials("cli:1", "a:b c")


@pytest.mark.parametrize(
    ("client_id", "secret", "authorization"),
    [
        ("cli_1", "secret", basic("cli_1", "secret")),
        (None, "secret", basic("cli_1", "secret")),
        ("cli_2", None, basic("cli_1", "secret")),
    ],
)
def test_two_ways_at_once_are_refused(
    client_id: str | None, secret: str | None, authorization: str | None
) -> None:
    """RFC 6749 §2.3."""
    with pytest.raises(InvalidRequest):
        credentials_of(client_id, secret, authorization)


@pytest.mark.parametrize(
    ("client_id", "secret", "authorization"),
    [
        (None, None, None),
        ("cli_1", None, None),
        ("cli_1", "", None),
        ("", "secret", None),
        (None, None, "Basic"),
        (None, None, "Basic !!!"),
        (None, None, "Basic " + base64.b64encode(b"\xff:\xff").decode()),
        (None, None, basic("cli_1", "")),
        (None, None, basic("", "secret")),
        (None, None, basic("cli_1", "%ff")),
        (None, None, "Basic " + base64.b64encode(b"nothing").decode()),
    ],
)
def test_missing_or_broken_credentials_are_an_invalid_client(
    client_id: str | None, secret: str | None, authorization: str | None
) -> None:
    with pytest.raises(InvalidClient):
        credentials_of(client_id, secret, authorization)


@given(st.none() | st.text(), st.none() | st.text(), st.none() | st.text() | st.text().map("Basic {}".format))
def test_whatever_is_sent_is_credentials_or_refused(
    client_id: str | None, secret: str | None, authorization: str | None
) -> None:
    try:
        credentials = credentials_of(client_id, secret, authorization)
    except (InvalidClient, InvalidRequest):
        return
    assert credentials.client_id
    assert credentials.client_secret


# For whom


async def test_without_claims_the_client_is_itself(backend: Backend) -> None:
    assert backend.vouch(None, scopes=["GLOBAL_READ"], public_key=device().public_key) == ClientItself(
        client_id=backend.new.client_id,
        scopes=("GLOBAL_READ",),
        public_key=device().public_key,
        address=ADDRESS,
    )


async def test_a_sub_is_the_user_id(backend: Backend) -> None:
    claims = Claims(sub=" customer/4711 ", email="Bob@Example.com", name=" Bob\nBuilder ")
    assert backend.proof(claims, public_key=device().public_key) == Proof(
        method="client_credentials",
        issuer="client",
        subject="customer/4711",
        user_id="customer/4711",
        email="bob@example.com",
        email_verified=False,
        name="Bob Builder",
        public_key=device().public_key,
        client_id=backend.new.client_id,
        scopes=("ACCESS_DB",),
        address=ADDRESS,
    )


async def test_a_mailed_code_and_a_backend_lead_to_the_same_user(backend: Backend) -> None:
    desk = Desk(backend.db, backend.ring, backend.app, SetClock())
    by_code = await desk.check(*await desk.start("bob@example.com"))
    by_backend = backend.proof(Claims(sub="Bob@EXAMPLE.com"))
    for proof in (by_code, by_backend):
        assert (proof.issuer, proof.subject, proof.user_id) == ("email",) + ("bob@example.com",) * 2
        assert (proof.email, proof.email_verified) == ("bob@example.com", True)


async def test_where_user_ids_are_opaque_a_sub_is_taken_as_it_stands(
    database: Database, ring: KeyRing
) -> None:
    backend = await a_backend(database, ring, opaque=True)
    proof = backend.proof(Claims(sub="Bob@EXAMPLE.com"))
    assert (proof.issuer, proof.user_id, proof.email) == ("client", "Bob@EXAMPLE.com", "")


@pytest.mark.parametrize(
    ("claims", "verified"),
    [
        (Claims(sub="u1", email="bob@example.com"), False),
        (Claims(sub="u1", email="bob@example.com", email_verified=True), True),
        (Claims(sub="u1", email_verified=True), False),
        (Claims(sub="bob@example.com"), True),
        (Claims(sub="bob@example.com", email="BOB@example.com"), True),
        (Claims(sub="bob@example.com", email="ceo@corp.example"), False),
        (Claims(sub="bob@example.com", email="ceo@corp.example", email_verified=True), True),
    ],
)
async def test_an_address_counts_as_verified_only_where_the_backend_vouches_for_it(
    backend: Backend, claims: Claims, verified: bool
) -> None:
    assert backend.proof(claims).email_verified is verified


@pytest.mark.parametrize(
    "claims",
    [
        Claims(),
        Claims(sub="  "),
        Claims(sub="x" * 256),
        Claims(sub="a\x00b"),
        Claims(sub="a\nb"),
        Claims(sub="\ud800"),
        Claims(sub="u1", email="not an address"),
        Claims(sub="u1", email="a@x.com as b@y.com"),
        Claims(sub="u1", email="bob@example.com\r\nBcc: x@y.com"),
        Claims(sub="u1", name="x" * 1_001),
        Claims(sub="alice@demo.local"),
        Claims(sub="u1", email="alice@demo.local"),
    ],
)
async def test_claims_that_cannot_be_a_persons_are_refused(backend: Backend, claims: Claims) -> None:
    with pytest.raises(InvalidRequest):
        backend.vouch(claims)


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_no_claims_break_out_of_a_user_id(sub: str, email: str, name: str) -> None:
    client = Client(
        client_id="cli_1",
        secret_digest="",
        scopes=frozenset(BACKEND),
        owner=None,
        created_at=NOON,
        secret_changed_at=NOON,
    )
    try:
        claims = Claims(sub=sub, email=email, name=name)
        proof = proof_of(APP, client, claims, scopes=[], public_key=None, address="")
    except AdmitError:
        return
    assert isinstance(proof, Proof)
    assert proof.user_id == proof.user_id.strip() != ""
    assert not any(ord(each) < 32 for each in proof.user_id + proof.email + proof.name)
    (proof.user_id + proof.email + proof.name).encode()


async def test_to_vouch_for_others_a_client_needs_impersonate(database: Database, ring: KeyRing) -> None:
    backend = await a_backend(database, ring, scopes=("ACCESS_DB", "GLOBAL_WRITE"))
    with pytest.raises(Forbidden, match="IMPERSONATE"):
        backend.vouch(Claims(sub="bob@example.com"))


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ([], ("ACCESS_DB",)),
        (["ACCESS_DB"], ("ACCESS_DB",)),
        (["GLOBAL_READ", "ACCESS_DB", "GLOBAL_READ"], ("GLOBAL_READ", "ACCESS_DB")),
    ],
)
async def test_what_is_asked_for_is_granted_and_no_more(
    backend: Backend, asked: list[str], granted: tuple[str, ...]
) -> None:
    for claims in (None, Claims(sub="u1")):
        assert backend.vouch(claims, scopes=asked).scopes == granted


@pytest.mark.parametrize(
    "asked", [["GLOBAL_WRITE"], ["ACCESS_DB", "MANAGE_DB"], ["access_db"], [""], ["\ud800"]]
)
async def test_what_the_client_lacks_is_forbidden(backend: Backend, asked: list[str]) -> None:
    for claims in (None, Claims(sub="u1")):
        with pytest.raises(Forbidden):
            backend.vouch(claims, scopes=asked)


async def test_a_client_without_access_gets_a_token_for_nothing(database: Database, ring: KeyRing) -> None:
    backend = await a_backend(database, ring, scopes=("MANAGE_DB",))
    assert backend.vouch(None, scopes=[]).scopes == ()


async def test_secrets_do_not_show_in_a_traceback(backend: Backend) -> None:
    assert backend.new.client_secret not in repr(backend.credentials)
