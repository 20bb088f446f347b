"""Enrollment tokens as they are kept: made, looked at, used, revoked, forgotten."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from admit.accounts import enrollment_tokens
from admit.accounts.enrollment_tokens import (
    LIVE_PER_USER_MAX,
    SECONDS_MAX,
    SECONDS_MIN,
    USES_MAX,
    EnrollmentToken,
    Fault,
    Minted,
    NewToken,
    Presented,
    Redeemable,
)
from admit.accounts.tables import enrollment_token_uses
from admit.accounts.tables import enrollment_tokens as table
from admit.accounts.user_deletion import Deletion, delete_slice, delete_user
from admit.accounts.users import User
from admit.clock import DAY_MS
from admit.errors import Conflict, InvalidRequest, NotFound
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from tests.residents import APP, NOW, count, login, move_in, person, sign_in, start_app

KEPT_MS = 30 * DAY_MS


async def resident(database: Database, **changes: Any) -> User:
    await start_app(database)
    user = person(**changes)
    await move_in(database, user)
    return user


async def mint(database: Database, ring: KeyRing, user: User, *, now: int = NOW, **changes: Any) -> Minted:
    new = NewToken(uid=user.uid, **changes)
    return await database.write(
        partial(enrollment_tokens.mint, ring=ring, app_id=user.app_id, new=new, now=now)
    )


async def look(
    database: Database,
    ring: KeyRing,
    token: str,
    *,
    key: str = "laptop",
    device_id: str | None = "laptop",
    app_id: str = APP,
    now: int = NOW + 1_000,
) -> Redeemable | Fault:
    presented = Presented(
        app_id=app_id,
        digests=enrollment_tokens.digests_of(ring, token),
        key_thumbprint=key,
        device_id=device_id,
        now=now,
    )
    return await database.read(partial(enrollment_tokens.examine, presented=presented))


async def use(database: Database, ring: KeyRing, minted: Minted, user: User, device: str = "laptop") -> str:
    """Enrolls a device by the token; returns the session."""
    opened = await sign_in(database, login(user, device_id=device))
    presented = Presented(
        app_id=user.app_id,
        digests=enrollment_tokens.digests_of(ring, minted.token),
        key_thumbprint=device,
        device_id=device,
        now=NOW,
    )

    def unit(tx: Transaction) -> None:
        found = enrollment_tokens.examine(tx, presented)
        assert isinstance(found, Redeemable)
        enrollment_tokens.note_use(tx, found, presented, opened.session.session_id)

    await database.write(unit)
    return opened.session.session_id


async def listed(database: Database, user: User, *, now: int = NOW, **page: Any) -> list[EnrollmentToken]:
    return await database.read(
        partial(enrollment_tokens.of_user, app_id=user.app_id, uid=user.uid, now=now, **page)
    )


async def revoke(database: Database, user: User, token_id: str, *, now: int = NOW) -> bool:
    return await database.write(
        partial(enrollment_tokens.revoke, app_id=user.app_id, uid=user.uid, token_id=token_id, now=now)
    )


async def test_a_token_opens_until_it_ends(database: Database, ring: KeyRing) -> None:
    user = await resident(database)
    minted = await mint(database, ring, user, seconds=60)
    assert minted.token.startswith("enr_")
    assert len(minted.token) == len("enr_") + 43
    found = await look(database, ring, minted.token, now=NOW + 59_999)
    assert found == Redeemable(minted.about, None)
    assert await look(database, ring, minted.token, now=NOW + 60_000) == "expired"


@pytest.mark.parametrize(
    "text",
    ["", "enr_", "enr_" + "a" * 43, "enr_" + "ä" * 43, "x" * 100_000, "\udc80", "enr_" + "a" * 42 + "\n"],
)
async def test_what_was_never_made_is_unknown(database: Database, ring: KeyRing, text: str) -> None:
    user = await resident(database)
    minted = await mint(database, ring, user)
    assert await look(database, ring, text) == "unknown"
    assert await look(database, ring, minted.token, app_id="app_plans") == "unknown"
    assert await look(database, ring, minted.token + "x") == "unknown"


async def test_a_token_is_kept_as_a_digest_and_printed_nowhere(database: Database, ring: KeyRing) -> None:
    user = await resident(database)
    minted = await mint(database, ring, user)
    rows = await database.read(lambda tx: tx.execute(select(table)).all())
    assert minted.token not in repr(rows) + repr(minted) + repr(await listed(database, user))
    assert minted.token.removeprefix("enr_") not in repr(rows)
    (row,) = rows
    for text in (row.digest, f"enr_{row.digest}", row.token_id):
        assert await look(database, ring, text) == "unknown"


async def test_a_token_outlives_a_change_of_the_secret_key(database: Database, ring: KeyRing) -> None:
    user = await resident(database)
    minted = await mint(database, ring, user)
    newer = KeyRing((b"a-newer-secret-key-0123456789012", *ring.keys))
    assert isinstance(await look(database, newer, minted.token), Redeemable)
    assert await look(database, KeyRing(newer.keys[:1]), minted.token) == "unknown"


async def test_a_revoked_token_opens_no_more_and_may_be_revoked_again(
    database: Database, ring: KeyRing
) -> None:
    user = await resident(database)
    minted = await mint(database, ring, user)
    assert await revoke(database, user, minted.about.token_id)
    assert await revoke(database, user, minted.about.token_id, now=NOW + 5_000)
    assert await look(database, ring, minted.token) == "revoked"
    (about,) = await listed(database, user)
    assert (about.revoked_at, about.state(NOW)) == (NOW, "revoked")


async def test_only_the_tokens_of_the_user_are_revoked_and_listed(database: Database, ring: KeyRing) -> None:
    ada = await resident(database)
    bob = person("bob@example.com")
    await move_in(database, bob)
    minted = await mint(database, ring, ada)
    assert not await revoke(database, bob, minted.about.token_id)
    assert not await revoke(database, ada, "ent_unknown")
    assert await listed(database, bob) == []
    assert isinstance(await look(database, ring, minted.token), Redeemable)


async def test_a_bound_token_opens_on_its_device_only(database: Database, ring: KeyRing) -> None:
    user = await resident(database)
    minted = await mint(database, ring, user, device_id="tablet-7")
    assert await look(database, ring, minted.token, device_id="tablet-8") == "other_device"
    assert await look(database, ring, minted.token, device_id=None) == "other_device"
    assert isinstance(await look(database, ring, minted.token, device_id="tablet-7"), Redeemable)


async def test_uses_are_counted_and_a_key_may_ask_again(database: Database, ring: KeyRing) -> None:
    user = await resident(database)
    minted = await mint(database, ring, user, uses_max=2)
    for device in ("laptop", "phone"):
        session_id = await use(database, ring, minted, user, device)
        found = await look(database, ring, minted.token, key=device)
        assert isinstance(found, Redeemable)
        assert found.session is not None
        assert found.session.session_id == session_id
    assert await look(database, ring, minted.token, key="desktop") == "used"
    (about,) = await listed(database, user)
    assert (about.uses, about.state(NOW)) == (2, "used")


async def test_tokens_are_listed_newest_first_in_pages(database: Database, ring: KeyRing) -> None:
    user = await resident(database)
    made = [(await mint(database, ring, user)).about for _ in range(5)]
    newest_first = sorted(made, key=lambda each: each.token_id, reverse=True)
    assert await listed(database, user) == newest_first
    page = await listed(database, user, limit=2)
    assert page == newest_first[:2]
    assert await listed(database, user, before=page[-1].token_id, limit=2) == newest_first[2:4]


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": SECONDS_MIN - 1},
        {"seconds": SECONDS_MAX + 1},
        {"uses_max": 0},
        {"uses_max": USES_MAX + 1},
        {"device_id": ""},
        {"device_id": "x" * 201},
        {"device_id": "key_of-somebody"},
        {"device_id": "a\nb"},
    ],
)
async def test_a_token_that_makes_no_sense_is_not_made(
    database: Database, ring: KeyRing, changes: dict[str, Any]
) -> None:
    user = await resident(database)
    with pytest.raises(InvalidRequest):
        await mint(database, ring, user, **changes)
    assert await listed(database, user) == []


async def test_no_token_is_made_for_nobody_nor_for_demo_users(database: Database, ring: KeyRing) -> None:
    demo = await resident(database, user_id="alice@demo.local", type="demo")
    with pytest.raises(InvalidRequest):
        await mint(database, ring, demo)
    with pytest.raises(NotFound) as refused:
        await mint(database, ring, person("nobody@example.com"))
    assert refused.value.code == "user_not_found"


async def test_a_user_has_so_many_tokens_that_can_be_used(database: Database, ring: KeyRing) -> None:
    user = await resident(database)
    made = [await mint(database, ring, user) for _ in range(LIVE_PER_USER_MAX)]
    with pytest.raises(Conflict) as refused:
        await mint(database, ring, user)
    assert refused.value.code == "too_many_enrollment_tokens"
    assert await revoke(database, user, made[0].about.token_id)
    await mint(database, ring, user)
    with pytest.raises(Conflict):
        await mint(database, ring, user)
    await use(database, ring, made[1], user)
    await mint(database, ring, user)
    with pytest.raises(Conflict):
        await mint(database, ring, user)
    await mint(database, ring, user, now=NOW + 900_000)


async def test_tokens_go_with_their_user_and_who_comes_back_has_none(
    database: Database, ring: KeyRing
) -> None:
    user = await resident(database)
    minted = await mint(database, ring, user, uses_max=2)
    await use(database, ring, minted, user)
    assert await delete_user(database, APP, user.user_id, NOW)
    assert await count(database, table, user) == 0
    assert await count(database, enrollment_token_uses, user) == 0
    again = person()
    await move_in(database, again)
    assert await look(database, ring, minted.token) == "unknown"


async def test_many_uses_are_deleted_in_slices(database: Database, ring: KeyRing) -> None:
    user = await resident(database)
    minted = await mint(database, ring, user)
    rows = [
        {
            "app_id": APP,
            "token_id": minted.about.token_id,
            "key_thumbprint": f"key {number}",
            "uid": user.uid,
            "session_id": "ses_x",
            "used_at": NOW,
        }
        for number in range(1_000)
    ]
    await database.write(lambda tx: tx.execute(enrollment_token_uses.insert(), rows))
    slice_ = partial(delete_slice, app_id=APP, user_id=user.user_id, now=NOW)
    assert await database.write(slice_) is Deletion.MORE
    assert await database.write(slice_) is Deletion.DELETED
    assert await count(database, enrollment_token_uses, user) == 0


async def test_what_has_ended_is_kept_for_a_while_and_then_forgotten(
    database: Database, ring: KeyRing
) -> None:
    user = await resident(database)
    old = await mint(database, ring, user, seconds=60, uses_max=3)
    for device in ("laptop", "phone"):
        await use(database, ring, old, user, device)
    young = await mint(database, ring, user, seconds=120)

    async def prune(now: int, rows_max: int = 500) -> int:
        return await database.write(
            partial(enrollment_tokens.prune, now=now, rows_max=rows_max, kept_ms=KEPT_MS)
        )

    ended = old.about.expires_at
    assert await prune(ended + KEPT_MS - 1) == 0
    assert await look(database, ring, old.token, now=ended + KEPT_MS - 1) == "expired"
    assert [await prune(ended + KEPT_MS, rows_max=1) for _ in range(4)] == [1, 1, 1, 0]
    assert await count(database, enrollment_token_uses, user) == 0
    assert await look(database, ring, old.token) == "unknown"
    assert await listed(database, user) == [young.about]
