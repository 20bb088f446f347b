"""Single sign-on at the one way in: issuer and subject are the person, an email only where it is trusted."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import select

from admit import clock
from admit.accounts import enrollment_tokens, policies, sessions, users
from admit.accounts import tables as accounts
from admit.accounts.app_settings import PolicySetting
from admit.accounts.apps import Client, load_app
from admit.accounts.devices import NOT_SENT, DeviceSent
from admit.accounts.enrollment_tokens import Maker, NewToken
from admit.accounts.providers import Provider
from admit.accounts.user_edits import UserChange
from admit.accounts.users import User
from admit.enrollment import creations
from admit.enrollment.admissions import Login
from admit.errors import Refused
from admit.signin import sso
from admit.signin.client_credentials import Claims, proof_of
from admit.signin.identity import Identity
from admit.signin.proof import Proof
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from tests.contract.test_door import House, open_house
from tests.contract.test_door import proof as mailed
from tests.receiver import PROD, always, receiving
from tests.residents import key

GOOGLE = Provider(
    name="google", type="google", display_name="Google", issuer="https://accounts.google.com", client_id="us"
)


@pytest.fixture
async def house(database: Database, ring: KeyRing) -> AsyncIterator[House]:
    async with open_house(database, ring) as house:
        yield house


def at_google(subject: str = "g-1", email: str = "ada@example.com", **changes: Any) -> Identity:
    """Somebody whose email Google has verified and is believed about."""
    plain = Identity(
        issuer=GOOGLE.issuer,
        subject=subject,
        email=email,
        email_verified=True,
        email_trusted=True,
        name="Ada",
    )
    return replace(plain, **changes)


def sso_proof(
    house: House, identity: Identity, *, device: str = "laptop", provider: Provider = GOOGLE
) -> Proof:
    made = sso.proof_of(
        house.app,
        provider,
        identity,
        method="sso",
        scopes=("ACCESS_DB",),
        sign_in_code="",
        public_key=key(device),
        device=DeviceSent(id=device),
    )
    return replace(made, sign_in_code=None)


async def come(house: House, identity: Identity, **changes: Any) -> Login:
    return await house.door.admit(house.app, sso_proof(house, identity, **changes))


async def refused(house: House, identity: Identity, **changes: Any) -> str:
    with pytest.raises(Refused) as refusal:
        await come(house, identity, **changes)
    return refusal.value.code


async def identities(house: House) -> set[tuple[str, str, str]]:
    table = accounts.identities
    rows = await house.db.read(
        lambda tx: tx.execute(select(table.c.issuer, table.c.subject, table.c.uid)).all()
    )
    return {(row.issuer, row.subject, row.uid) for row in rows}


async def user_of(house: House, user_id: str = "ada@example.com") -> User:
    found = await house.db.read(lambda tx: users.by_user_id(tx, [(house.app.app_id, user_id)]))
    return found[house.app.app_id, user_id]


async def test_person_of_a_mailed_code_comes_back_by_single_sign_on_as_themselves(house: House) -> None:
    first = await house.door.admit(house.app, mailed("ada"))
    again = await come(house, at_google())
    assert again.user.uid == first.user.uid
    assert await house.count(accounts.users) == 1
    assert (GOOGLE.issuer, "g-1", first.user.uid) in await identities(house)
    assert [row.way_in for row in await house.ledger()] == ["email_code"]


async def test_person_of_single_sign_on_comes_back_by_a_mailed_code_as_themselves(house: House) -> None:
    first = await come(house, at_google())
    again = await house.door.admit(house.app, mailed("ada"))
    assert again.user.uid == first.user.uid
    assert (first.user.email, first.user.email_verified, first.user.way_in) == (
        "ada@example.com",
        True,
        "google",
    )


async def test_changed_email_leads_to_the_same_person(house: House) -> None:
    first = await come(house, at_google())
    moved = await come(house, at_google(email="ada@elsewhere.example"))
    assert moved.user.uid == first.user.uid
    assert moved.user.user_id == "ada@example.com"


async def test_identity_goes_before_the_owner_of_its_new_email(house: House) -> None:
    ada = await come(house, at_google())
    bob = await house.door.admit(house.app, mailed("bob"))
    again = await come(house, at_google(email="bob@example.com"))
    assert again.user.uid == ada.user.uid != bob.user.uid


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"email_trusted": False}, "EMAIL_NOT_TRUSTED"),
        ({"email_trusted": False, "email_verified": False}, "EMAIL_NOT_VERIFIED"),
        ({"email_trusted": False, "email_verified": False, "email": ""}, "EMAIL_MISSING"),
    ],
)
async def test_email_that_is_not_trusted_leads_nowhere_and_leaves_nothing(
    house: House, changes: dict[str, Any], code: str
) -> None:
    ada = await house.door.admit(house.app, mailed("ada"))
    before = await identities(house), await house.events()
    assert await refused(house, at_google(**changes)) == code
    assert (await identities(house), await house.events()) == before
    assert await house.count(accounts.users) == 1
    assert len(await house.ledger()) == 1
    assert ada.user.email == "ada@example.com"


async def test_known_identity_needs_no_email_any_more(house: House) -> None:
    ada = await come(house, at_google())
    again = await come(house, at_google(email="", email_verified=False, email_trusted=False))
    assert again.user.uid == ada.user.uid


async def test_same_subject_of_another_issuer_is_somebody_else(house: House) -> None:
    await come(house, at_google())
    stranger = at_google(issuer="https://evil.example", email_trusted=False)
    assert await refused(house, stranger, provider=replace(GOOGLE, name="evil")) == "EMAIL_NOT_TRUSTED"


async def test_subject_alone_makes_a_person_of_their_own(house: House) -> None:
    own = replace(GOOGLE, name="own", person="subject")
    bob = await house.door.admit(house.app, mailed("bob"))
    login = await come(house, at_google("s-1", "bob@example.com"), provider=own)
    other = await come(house, at_google("s-2", "bob@example.com"), provider=own)
    assert len({bob.user.uid, login.user.uid, other.user.uid}) == 3
    assert login.user.user_id.startswith("idp-")
    assert (await come(house, at_google("s-1", ""), provider=own)).user.uid == login.user.uid


async def test_email_that_is_not_trusted_is_told_to_nobody(house: House) -> None:
    own = replace(GOOGLE, name="own", person="subject")
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        login = await come(house, at_google("s-1", "boss@corp.example", email_trusted=False), provider=own)
    assert msgspec.json.decode(receiver.calls[0].body)["email"] == ""
    assert (login.user.email, login.user.email_verified) == ("", False)


async def test_fifty_first_logins_by_two_methods_make_one_person(house: House) -> None:
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        by_code = [house.door.admit(house.app, mailed("ada", device=number + 1)) for number in range(25)]
        by_sso = [come(house, at_google(), device=f"d{number}") for number in range(25)]
        logins = await asyncio.gather(*by_code, *by_sso)
    assert len({login.user.uid for login in logins}) == 1
    assert len(receiver.calls) == 1
    assert [type for type, _ in await house.events()].count("user.enrolled") == 1
    assert (GOOGLE.issuer, "g-1", logins[0].user.uid) in await identities(house)


async def test_identity_that_meets_two_people_at_once_leads_to_one(house: House) -> None:
    for name in ("ada", "bob"):
        await house.door.admit(house.app, mailed(name))
    logins = await asyncio.gather(
        *(
            come(house, at_google("g-9", email=f"{name}@example.com"))
            for name in ("ada", "bob")
            for _ in range(5)
        )
    )
    assert len({login.user.uid for login in logins}) == 1
    assert len([each for each in await identities(house) if each[1] == "g-9"]) == 1


async def test_deactivated_person_is_refused_and_not_linked(house: House) -> None:
    ada = await house.door.admit(house.app, mailed("ada"))
    await change(house, UserChange(user_id="ada@example.com", deactivated=True))
    assert await refused(house, at_google()) == "USER_DEACTIVATED"
    assert {each[0] for each in await identities(house)} == {"email"}
    assert ada.session is not None


async def test_ways_in_have_policies_of_their_own(house: House) -> None:
    await house.choose(PolicySetting(kind="reject"))
    await choose_for(house, "google", PolicySetting(kind="prod"))
    with pytest.raises(Refused) as refusal:
        await house.door.admit(house.app, mailed("bob"))
    assert refusal.value.code == "USER_NOT_REGISTERED"
    assert (await come(house, at_google())).user.type == "prod"
    newest, older = await house.ledger()
    assert (newest.way_in, newest.policy, newest.verdict) == ("google", "prod", "prod")
    assert (older.way_in, older.policy, older.verdict) == ("email_code", "reject", "refused")
    await choose_for(house, "google", None)
    assert await refused(house, at_google("g-2", "eve@example.com")) == "USER_NOT_REGISTERED"


async def test_hook_is_told_all_where_the_policy_says_so_and_the_contract_otherwise(house: House) -> None:
    identity = at_google(claims={"groups": ["staff"]})
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        await come(house, identity)
        await house.ask(receiver, payload="full")
        await come(house, replace(identity, subject="g-2", email="bob@example.com"), device="phone")
        await house.door.admit(house.app, replace(mailed("eve"), public_key=None, device=NOT_SENT))
    contract, full, keyless = (msgspec.json.decode(call.body) for call in receiver.calls)
    assert contract == {"userId": "ada@example.com", "email": "ada@example.com"}
    assert full["signIn"] == {"method": "sso", "provider": "google", "intent": ""}
    assert full["device"]["id"] == "phone"
    assert not full["device"]["derived"]
    assert full["claims"] == {"groups": ["staff"]}
    assert (full["emailVerified"], full["name"]) == (True, "Ada")
    assert keyless["device"] is None
    claims = [msgspec.json.decode(row.claims) for row in await house.ledger() if row.way_in == "google"]
    assert claims == [{"groups": ["staff"]}] * 2


# Who was there before the owner of the email


async def test_sessions_of_a_backend_without_a_proof_end_when_the_owner_comes(house: House) -> None:
    thief = await by_backend(house, verified=False)
    assert thief.session is not None
    session_id = thief.session.session_id
    token = await house.db.write(
        partial(
            enrollment_tokens.mint,
            ring=house.ring,
            app_id=house.app.app_id,
            new=NewToken(uid=thief.user.uid, maker=Maker(client_id="cli_1", client_since=0)),
            now=clock.now(),
        )
    )
    owner = await come(house, at_google(), device="phone")
    assert owner.user.uid == thief.user.uid
    left = await house.db.read(lambda tx: sessions.find(tx, house.app.app_id, session_id))
    assert left is not None
    assert (left.state, left.reason) == ("LOCKED", "reauthenticate")
    assert (await user_of(house)).email_verified
    (made,) = await house.db.read(
        lambda tx: enrollment_tokens.of_user(
            tx, house.app.app_id, thief.user.uid, before=None, limit=10, now=clock.now()
        )
    )
    assert (made.token_id, made.revoked_at is not None) == (token.about.token_id, True)
    assert ("session.locked") in [type for type, _ in await house.events()]


async def test_address_that_anybody_may_have_typed_does_not_come_to_its_owner(house: House) -> None:
    await come(house, at_google())
    with pytest.raises(Refused) as refusal:
        await by_backend(house, verified=False)
    assert refusal.value.code == "EMAIL_NOT_VERIFIED"
    assert (await by_backend(house, verified=None)).user.email_verified


async def test_what_an_operator_granted_stays_when_the_owner_comes(house: House) -> None:
    await change(house, UserChange(user_id="ada@example.com", type="prod"))
    assert not (await user_of(house)).email_verified
    first = await come(house, at_google())
    assert first.user.type == "prod"
    assert (await user_of(house)).email_verified
    assert [row.way_in for row in await house.ledger()] == ["api"]


async def by_backend(house: House, *, verified: bool | None, email: str = "", device: str = "thief") -> Login:
    """The app's backend vouches for ada@example.com, which somebody has typed there."""
    client = Client(
        client_id="cli_1",
        secret_digest="d",
        scopes=frozenset({"ACCESS_DB", "IMPERSONATE"}),
        owner=None,
        created_at=0,
        secret_changed_at=0,
    )
    made = proof_of(
        house.app,
        client,
        Claims(sub="ada@example.com", email=email or None, email_verified=verified),
        scopes=(),
        public_key=key(device),
        address="",
    )
    assert isinstance(made, Proof)
    return await house.door.admit(house.app, made)


async def change(house: House, *changes: UserChange) -> None:
    await house.db.write(
        partial(creations.write_users, app=house.app, changes=changes, who="a test", now=clock.now())
    )


async def choose_for(house: House, way_in: str, policy: PolicySetting | None) -> None:
    def unit(tx: Transaction) -> None:
        policies.set_policy_for(tx, house.app.app_id, way_in, policy, clock.now())
        app = load_app(tx, house.ring, house.app.name)
        assert app is not None
        house.app = app

    await house.db.write(unit)
