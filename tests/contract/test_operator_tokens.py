"""Operator tokens: what the admin API lets in, and for how long."""

from functools import partial

import pytest

from admit.errors import Forbidden, InvalidRequest, InvalidToken
from admit.operators import tokens
from admit.operators.roles import SCOPES
from admit.operators.tables import operator_tokens
from admit.operators.tokens import NewOperatorToken, NewToken, OperatorToken, authenticate
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

NOW = 1_800_000_000_000
READ = frozenset({"apps:read", "users:read"})


async def create(
    database: Database,
    ring: KeyRing,
    scopes: frozenset[str] = READ,
    app_id: str | None = None,
    expires_at: int | None = None,
) -> NewOperatorToken:
    new = NewToken(label="deploy", scopes=scopes, app_id=app_id, expires_at=expires_at)
    return await database.write(partial(tokens.create_token, ring=ring, new=new, now=NOW))


async def test_token_opens_what_it_was_made_for(database: Database, ring: KeyRing) -> None:
    made = await create(database, ring, app_id="app_1")

    known = await authenticate(database, ring, made.token, NOW)

    assert known == made.about
    tokens.require(known, "users:read", "app_1")
    for scope, app_id in (("users:write", "app_1"), ("users:read", "app_2"), ("apps:read", None)):
        with pytest.raises(Forbidden):
            tokens.require(known, scope, app_id)


async def test_token_of_every_app_opens_every_app(database: Database, ring: KeyRing) -> None:
    known = await authenticate(database, ring, (await create(database, ring)).token, NOW)
    tokens.require(known, "apps:read", "app_1")
    tokens.require(known, "apps:read", None)


async def test_revoked_token_is_refused_at_once(database: Database, ring: KeyRing) -> None:
    made = await create(database, ring)
    revoke = partial(tokens.revoke_token, token_id=made.about.token_id, now=NOW)

    assert [await database.write(revoke), await database.write(revoke)] == [True, False]

    with pytest.raises(InvalidToken):
        await authenticate(database, ring, made.token, NOW)


async def test_token_ends_when_it_said_it_would(database: Database, ring: KeyRing) -> None:
    made = await create(database, ring, expires_at=NOW + 1_000)
    await authenticate(database, ring, made.token, NOW + 999)
    with pytest.raises(InvalidToken):
        await authenticate(database, ring, made.token, NOW + 1_000)


async def test_token_outlives_a_change_of_the_secret_key(database: Database, ring: KeyRing) -> None:
    made = await create(database, ring)
    newer = KeyRing((b"a-newer-secret-key-0123456789012", *ring.keys))
    await authenticate(database, newer, made.token, NOW)
    with pytest.raises(InvalidToken):
        await authenticate(database, KeyRing(newer.keys[:1]), made.token, NOW)


async def test_token_is_kept_as_a_digest_and_printed_nowhere(database: Database, ring: KeyRing) -> None:
    made = await create(database, ring)
    rows = await database.read(lambda tx: tx.execute(operator_tokens.select()).all())
    listed = await database.read(tokens.list_tokens)
    assert made.token not in repr(rows) + repr(made) + repr(listed)
    assert listed == [made.about]


async def test_what_is_stored_does_not_open_anything(database: Database, ring: KeyRing) -> None:
    await create(database, ring)
    row = await database.read(lambda tx: tx.execute(operator_tokens.select()).one())
    for text in (
        row.digest,
        f"adm_{row.digest}",
        row.token_id,
        "",
        "adm_",
        "adm_" + "x" * 10_000,
        "adm_ä",
        "\udc80",
    ):
        with pytest.raises(InvalidToken):
            await authenticate(database, ring, text, NOW)


@pytest.mark.parametrize(
    "new",
    [
        NewToken(label="", scopes=READ),
        NewToken(label="a\nb", scopes=READ),
        NewToken(label="x" * 101, scopes=READ),
        NewToken(label="x", scopes=frozenset()),
        NewToken(label="x", scopes=frozenset({"everything"})),
        NewToken(label="x", scopes=READ, expires_at=NOW),
    ],
)
async def test_token_that_makes_no_sense_is_not_made(
    database: Database, ring: KeyRing, new: NewToken
) -> None:
    with pytest.raises(InvalidRequest):
        await database.write(partial(tokens.create_token, ring=ring, new=new, now=NOW))
    assert await database.read(tokens.list_tokens) == []


def holder(scopes: frozenset[str], app_id: str | None = None, expires_at: int | None = None) -> OperatorToken:
    return OperatorToken(
        token_id="opt_1", label="x", app_id=app_id, scopes=scopes, created_at=NOW, expires_at=expires_at
    )


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (holder(READ), NewToken(label="x", scopes=READ)),
        (holder(READ | {"tokens:write"}), NewToken(label="x", scopes=READ | {"apps:write"})),
        (holder(READ | {"tokens:write"}, app_id="app_1"), NewToken(label="x", scopes=READ)),
        (holder(READ | {"tokens:write"}, app_id="app_1"), NewToken(label="x", scopes=READ, app_id="app_2")),
        (holder(READ | {"tokens:write"}, expires_at=NOW + 9), NewToken(label="x", scopes=READ)),
        (
            holder(READ | {"tokens:write"}, expires_at=NOW + 9),
            NewToken(label="x", scopes=READ, expires_at=NOW + 10),
        ),
    ],
    ids=["without the right", "more scopes", "every app", "another app", "for ever", "longer"],
)
def test_token_cannot_make_one_that_reaches_further(held: OperatorToken, wanted: NewToken) -> None:
    with pytest.raises(Forbidden):
        tokens.require_may_grant(held, wanted)


def test_token_can_make_one_that_reaches_as_far() -> None:
    held = holder(READ | {"tokens:write"}, app_id="app_1", expires_at=NOW + 9)
    tokens.require_may_grant(held, NewToken(label="x", scopes=READ, app_id="app_1", expires_at=NOW + 9))


async def test_command_on_this_machine_may_do_everything_for_a_minute(
    database: Database, ring: KeyRing
) -> None:
    token = tokens.short_lived(ring, NOW)

    known = await authenticate(database, ring, token, NOW + 59_999)

    for scope in SCOPES:
        tokens.require(known, scope, None)
    with pytest.raises(InvalidToken):
        await authenticate(database, ring, token, NOW + 60_000)


async def test_command_token_cannot_be_forged_lengthened_or_made_of_another_mac(
    database: Database, ring: KeyRing
) -> None:
    token = tokens.short_lived(ring, NOW)
    body, _, mac = token.partition(".")
    longer = body.replace(str(NOW + 60_000), str(NOW + 90_000))
    far = tokens.short_lived(ring, NOW + 3_600_000)
    other = tokens.short_lived(KeyRing.parse("another-secret-key-0123456789-0123456789"), NOW)
    for text in (
        body,
        f"{body}.",
        f"{longer}.{mac}",
        token[:-2],
        token + ".x",
        far,
        other,
        "adm_command_",
        token + "ä",
    ):
        with pytest.raises(InvalidToken):
            await authenticate(database, ring, text, NOW)
