"""Mailed codes: counted before they are compared, spent once, and silent about who is known."""

import asyncio
import re
import threading
from collections import Counter
from functools import partial
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import select, text
from structlog.testing import capture_logs

from admit.accounts.apps import App
from admit.errors import (
    TOO_MANY_GUESSES,
    USER_NOT_REGISTERED,
    AdmitError,
    Forbidden,
    InvalidOtp,
    InvalidRequest,
    RateLimited,
    Refused,
)
from admit.signin import known_networks, tables
from admit.signin.email_code import WRONG_CODE, Spend, complete, spend
from admit.signin.limits import Limit, Limits
from admit.signin.one_time_codes import prune
from admit.signin.proof import Proof
from admit.storage.database import Database
from admit.storage.schema import metadata
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from tests.contract.signin_desk import ADDRESS, NOON, Desk, Device, SetClock, an_app, device, wrong
from tests.statements import noticed


@pytest.fixture
async def desk(database: Database, ring: KeyRing) -> Desk:
    """Sign-in without limits."""
    return Desk(database, ring, await an_app(database, ring), SetClock())


async def outcome(asked: Any) -> str:
    """What came of one request, in a word."""
    try:
        await asked
    except AdmitError as error:
        return error.code
    return "right"


def spending(desk: Desk, otp_id: str, *, by: Device | None = None) -> Spend:
    return Spend(
        app_id=desk.app.app_id,
        otp_id=otp_id,
        thumbprint=(by or device()).public_key.thumbprint,
        now=desk.clock(),
    )


async def spend_one(desk: Desk, otp_id: str, *, by: Device | None = None) -> bool:
    item = spending(desk, otp_id, by=by)
    return (await desk.db.write(lambda tx: spend(tx, [item])))[0]


async def complete_one(desk: Desk, otp_id: str, *, by: Device | None = None) -> None:
    item = spending(desk, otp_id, by=by)
    await desk.db.write(lambda tx: complete(tx, [item]))


# What a right code proves


async def test_the_code_in_the_mail_proves_the_mailbox(desk: Desk) -> None:
    otp_id, otp = await desk.start(" Bob@Example.COM ", intent="register")
    mail_to = (await desk.row(otp_id)).email
    proof = await desk.check(otp_id, otp, email="BOB@example.com", intent="register")
    assert mail_to == "bob@example.com"
    assert proof == Proof(
        method="email_code",
        issuer="email",
        subject="bob@example.com",
        user_id="bob@example.com",
        email="bob@example.com",
        email_verified=True,
        intent="register",
        public_key=device().public_key,
        scopes=("ACCESS_DB",),
        otp_id=otp_id,
        address=ADDRESS,
    )


async def test_a_magic_link_tells_neither_email_nor_intent_and_keeps_those_of_step_1(desk: Desk) -> None:
    otp_id, otp = await desk.start("bob@example.com", intent="login")
    proof = await desk.check(otp_id, otp, email=None, intent="")
    assert (proof.email, proof.intent) == ("bob@example.com", "login")


async def test_a_code_may_be_typed_with_spaces_and_dashes(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    assert await desk.check(otp_id, f" {otp[:4]} {otp[4:6]}-{otp[6:]}\n")


async def test_opaque_ids_do_not_tell_the_address_and_survive_a_new_key(database: Database) -> None:
    old, both = KeyRing.parse("o" * 32), KeyRing.parse("n" * 32 + "," + "o" * 32)
    app = await an_app(database, old, user_ids="opaque")
    ids = set()
    for ring in (old, both):
        desk = Desk(database, ring, app, SetClock())
        proof = await desk.check(*await desk.start())
        assert (proof.subject, proof.email) == ("bob@example.com", "bob@example.com")
        ids.add(proof.user_id)
    (user_id,) = ids
    assert "bob" not in user_id
    other = Desk(database, old, await an_app(database, old, user_ids="opaque"), SetClock())
    assert (await other.check(*await other.start())).user_id != user_id


# What is not right


@pytest.mark.parametrize(
    "otp_id",
    ["", "otp_", "otp_" + "a" * 32, "otp_\x00" + "a" * 31, "\ud800", "x" * 60_000, "' OR 1=1 --"],
)
async def test_an_unknown_otp_id_is_answered_like_a_wrong_code(desk: Desk, otp_id: str) -> None:
    known, otp = await desk.start()
    for asked in (desk.check(otp_id, otp), desk.check(known, wrong(otp))):
        with pytest.raises(InvalidOtp) as caught:
            await asked
        assert (caught.value.code, caught.value.message) == ("INVALID_OTP", WRONG_CODE)


@pytest.mark.parametrize("otp", ["", "1234", "x" * 8, "\x00" * 8, "\ud800" * 8, "١٢٣٤٥٦٧٨", "9" * 60_000])
async def test_what_is_no_code_is_a_wrong_guess(desk: Desk, otp: str) -> None:
    otp_id, _ = await desk.start()
    assert await outcome(desk.check(otp_id, otp)) == "INVALID_OTP"
    assert (await desk.row(otp_id)).guesses == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"email": "eve@example.com"},
        {"email": "bob+x@example.com"},
        {"intent": "register"},
        {"intent": "login"},
    ],
)
async def test_a_code_is_bound_to_what_step_1_was_told(desk: Desk, changes: dict[str, Any]) -> None:
    otp_id, otp = await desk.start("bob@example.com")
    assert await outcome(desk.check(otp_id, otp, **changes)) == "INVALID_OTP"
    assert (await desk.row(otp_id)).guesses == 1


async def test_a_code_is_bound_to_its_app_and_its_otp_id(desk: Desk) -> None:
    otp_id, otp = await desk.start("bob@example.com")
    other_id, _ = await desk.start("bob@example.com")
    elsewhere = Desk(desk.db, desk.ring, await an_app(desk.db, desk.ring), desk.clock)
    assert await outcome(elsewhere.check(otp_id, otp)) == "INVALID_OTP"
    assert await outcome(desk.check(other_id, otp)) == "INVALID_OTP"
    assert await desk.check(otp_id, otp)


async def test_a_code_ends_when_its_time_is_over(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    desk.clock.pass_seconds(899.999)
    assert await desk.check(otp_id, otp)
    desk.clock.pass_seconds(0.001)
    assert await outcome(desk.check(otp_id, otp)) == "INVALID_OTP"
    assert not await spend_one(desk, otp_id)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scopes": ["ACCESS_DB", "MANAGE_DB"]}, Forbidden),
        ({"scopes": ["GLOBAL_READ"]}, Forbidden),
        ({"public_key": None}, InvalidRequest),
        ({"email": "a@x.com as b@y.com as c@z.com"}, InvalidRequest),
    ],
)
async def test_a_request_that_cannot_be_granted_costs_no_guess(
    desk: Desk, changes: dict[str, Any], error: type[AdmitError]
) -> None:
    otp_id, otp = await desk.start()
    with pytest.raises(error):
        await desk.check(otp_id, otp, **changes)
    assert (await desk.row(otp_id)).guesses == 0


# Guessing


async def test_after_five_wrong_guesses_not_even_the_right_one_opens(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    for distance in range(1, 6):
        assert await outcome(desk.check(otp_id, wrong(otp, distance))) == "INVALID_OTP"
    for guess in (otp, wrong(otp)):
        with pytest.raises(Refused) as caught:
            await desk.check(otp_id, guess)
        assert caught.value.code == TOO_MANY_GUESSES


async def test_a_right_guess_is_not_counted_as_wrong(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    for distance in range(1, 5):
        await outcome(desk.check(otp_id, wrong(otp, distance)))
        assert await desk.check(otp_id, otp)
    assert (await desk.row(otp_id)).guesses == 4


async def test_of_a_hundred_guesses_at_once_five_are_compared(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    guesses = (desk.check(otp_id, wrong(otp, distance)) for distance in range(1, 101))
    outcomes = Counter(await asyncio.gather(*map(outcome, guesses)))
    assert outcomes == {"INVALID_OTP": 5, TOO_MANY_GUESSES: 95}
    assert await outcome(desk.check(otp_id, otp)) == TOO_MANY_GUESSES


async def test_of_a_hundred_guesses_from_two_processes_five_are_compared(
    postgres_url: str, ring: KeyRing
) -> None:
    databases = [Database(postgres_url), Database(postgres_url)]
    try:
        app, clock = await an_app(databases[0], ring), SetClock()
        desks = [Desk(database, ring, app, clock, Limits()) for database in databases]
        otp_id, otp = await desks[0].start()
        guesses = (desks[number % 2].check(otp_id, wrong(otp, number)) for number in range(1, 101))
        outcomes = Counter(await asyncio.gather(*map(outcome, guesses)))
        assert outcomes == {"INVALID_OTP": 5, TOO_MANY_GUESSES: 95}
    finally:
        for database in databases:
            database.close()


async def test_a_mailbox_bears_so_many_wrong_guesses_a_day_over_all_codes_and_spellings(
    database: Database, ring: KeyRing
) -> None:
    limits = replace(Limits.off(), wrong_guesses_per_mailbox=Limit(7, 86_400))
    desk = Desk(database, ring, await an_app(database, ring), SetClock(), limits)
    for email, guesses in (("bob@gmail.com", 4), ("b.o.b@googlemail.com", 2), ("bob+x@gmail.com", 1)):
        otp_id, otp = await desk.start(email)
        for distance in range(guesses):
            assert await outcome(desk.check(otp_id, wrong(otp, distance + 1))) == "INVALID_OTP"
    otp_id, otp = await desk.start("bob@gmail.com")
    with pytest.raises(Refused, match="tomorrow"):
        await desk.check(otp_id, otp)
    eve_id, eve_otp = await desk.start("eve@gmail.com")
    assert await desk.check(eve_id, eve_otp)
    desk.clock.pass_seconds(43_200)
    assert await desk.check(*await desk.start("bob@gmail.com"))


async def test_right_guesses_do_not_use_up_the_day(database: Database, ring: KeyRing) -> None:
    limits = replace(Limits.off(), wrong_guesses_per_mailbox=Limit(1, 86_400))
    desk = Desk(database, ring, await an_app(database, ring), SetClock(), limits)
    for _ in range(3):
        assert await desk.check(*await desk.start())


# Strangers who use up somebody's turns


HOME, ELSEWHERE = "198.51.100.7", "192.0.2.{}"


async def sign_in(desk: Desk, address: str = HOME, *, typed_at: str | None = None) -> Proof:
    otp_id, otp = await desk.start(address=address)
    return await desk.check(otp_id, otp, address=typed_at or address)


async def use_up(desk: Desk, *, networks: int, email: str = "bob@example.com") -> None:
    """Guesses wrongly at Bob's codes, asked for in so many networks, until no guess is compared any more."""
    for number in range(networks):
        address = ELSEWHERE.format(number)
        otp_id, otp = await desk.start(email, address=address)
        while await outcome(desk.check(otp_id, wrong(otp), address=address)) == "INVALID_OTP":
            pass


@pytest.fixture
async def strict(database: Database, ring: KeyRing) -> Desk:
    """Sign-in where a mailbox bears four wrong guesses a day, and three from one network."""
    limits = replace(
        Limits.off(),
        wrong_guesses_per_mailbox=Limit(4, 86_400),
        wrong_guesses_per_mailbox_and_network=Limit(3, 86_400),
    )
    return Desk(database, ring, await an_app(database, ring), SetClock(), limits)


async def test_strangers_elsewhere_cannot_lock_the_owner_out_at_home(strict: Desk) -> None:
    await sign_in(strict)
    await use_up(strict, networks=3, email="bob+x@example.com")
    with pytest.raises(Refused, match="tomorrow"):
        await sign_in(strict, ELSEWHERE.format(99))
    assert await sign_in(strict)


async def test_a_stranger_in_one_network_leaves_turns_to_a_newcomer_in_another(strict: Desk) -> None:
    await use_up(strict, networks=1)
    with pytest.raises(Refused, match="tomorrow"):
        await sign_in(strict, ELSEWHERE.format(0))
    assert await sign_in(strict)


async def test_a_known_network_bears_its_own_wrong_guesses_and_no_more(strict: Desk) -> None:
    await sign_in(strict, ELSEWHERE.format(0))
    await use_up(strict, networks=1)
    with pytest.raises(Refused, match="tomorrow"):
        await sign_in(strict, ELSEWHERE.format(0))
    assert await sign_in(strict)
    strict.clock.pass_seconds(43_200)
    assert await sign_in(strict, ELSEWHERE.format(0))


@pytest.mark.parametrize(("asked", "typed"), [(HOME, "192.0.2.200"), ("192.0.2.200", HOME), ("", "")])
async def test_a_network_is_known_only_where_a_code_was_asked_for_and_typed(
    strict: Desk, asked: str, typed: str
) -> None:
    await sign_in(strict, asked, typed_at=typed)
    await use_up(strict, networks=3)
    for address in (asked, typed):
        with pytest.raises(Refused, match="tomorrow"):
            await sign_in(strict, address)


async def test_guesses_count_where_their_code_was_asked_for(strict: Desk) -> None:
    """Who asks for codes at one place could type them at many."""
    otp_id, otp = await strict.start(address=ELSEWHERE.format(0))
    guesses = [strict.check(otp_id, wrong(otp), address=ELSEWHERE.format(number)) for number in range(4)]
    outcomes = [await outcome(guess) for guess in guesses]
    assert outcomes == ["INVALID_OTP"] * 3 + [TOO_MANY_GUESSES]


async def test_a_network_is_forgotten_after_90_days(strict: Desk) -> None:
    await sign_in(strict)
    strict.clock.pass_seconds(90 * 86_400 - 1)
    await use_up(strict, networks=3)
    assert await sign_in(strict)  # which makes it known for another 90 days
    strict.clock.pass_seconds(90 * 86_400)
    await use_up(strict, networks=3)
    with pytest.raises(Refused, match="tomorrow"):
        await sign_in(strict)
    pruned = partial(known_networks.prune, now=strict.clock(), rows_max=500)
    assert [await strict.db.write(pruned), await strict.db.write(pruned)] == [1, 0]


async def test_what_is_known_names_nobody_and_belongs_to_one_app_and_mailbox(strict: Desk) -> None:
    await sign_in(strict)
    rows = await strict.db.read(lambda tx: tx.execute(select(tables.known_networks)).all())
    assert len(rows) == 1
    assert not {"bob", "198.51"} & set(re.findall("bob|198.51", str(rows)))
    other = Desk(strict.db, strict.ring, await an_app(strict.db, strict.ring), strict.clock, strict.limits)
    await use_up(other, networks=3)
    with pytest.raises(Refused, match="tomorrow"):
        await sign_in(other)
    await use_up(strict, networks=3, email="eve@example.com")
    otp_id, otp = await strict.start("eve@example.com", address=HOME)
    assert await outcome(strict.check(otp_id, otp, address=HOME)) == TOO_MANY_GUESSES


async def test_a_network_stays_known_after_a_change_of_keys(strict: Desk) -> None:
    await sign_in(strict)
    newer = KeyRing((b"a-newer-secret-key-0123456789012", *strict.ring.keys))
    desk = Desk(strict.db, newer, strict.app, strict.clock, strict.limits)
    await use_up(desk, networks=3)
    assert await sign_in(desk)


async def test_strangers_who_ask_for_codes_leave_the_owner_some(database: Database, ring: KeyRing) -> None:
    limits = replace(
        Limits.off(),
        mails_per_mailbox=Limit(4, 3_600),
        mails_per_mailbox_and_network=Limit(3, 3_600),
    )
    desk = Desk(database, ring, await an_app(database, ring), SetClock(), limits)
    await sign_in(desk)
    asked = [ELSEWHERE.format(number) for number in (0, 0, 0, 0, 1, 2)]
    outcomes = [await outcome(desk.start(address=address)) for address in asked]
    assert outcomes == ["right", "right", "right", "rate_limited", "rate_limited", "rate_limited"]
    assert [await outcome(desk.start(address=HOME)) for _ in range(3)] == ["right", "right", "rate_limited"]


# Spending


async def test_after_a_crash_the_same_key_needs_no_second_mail(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    for _ in range(3):
        assert await desk.check(otp_id, otp)
        assert await spend_one(desk, otp_id)
    assert len(await desk.jobs()) == 1


async def test_a_spent_code_is_worth_nothing_to_another_key(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    assert await spend_one(desk, otp_id)
    assert await outcome(desk.check(otp_id, otp, by=device(2))) == "INVALID_OTP"
    assert not await spend_one(desk, otp_id, by=device(2))
    assert await desk.check(otp_id, otp)


async def test_a_code_is_done_when_a_login_has_come_of_it(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    await spend_one(desk, otp_id)
    await complete_one(desk, otp_id, by=device(2))
    assert await desk.check(otp_id, otp)
    await complete_one(desk, otp_id)
    desk.clock.pass_seconds(60)
    assert await outcome(desk.check(otp_id, otp)) == "INVALID_OTP"
    assert not await spend_one(desk, otp_id)


async def test_who_never_heard_of_their_login_may_repeat_the_code_for_a_minute(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    await spend_one(desk, otp_id)
    await complete_one(desk, otp_id)
    desk.clock.pass_seconds(59)
    assert await outcome(desk.check(otp_id, otp, by=device(2))) == "INVALID_OTP"
    assert await desk.check(otp_id, otp)
    assert await spend_one(desk, otp_id)


async def test_an_unspent_code_cannot_be_completed(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    await complete_one(desk, otp_id)
    assert await desk.check(otp_id, otp)


async def test_a_code_may_be_used_ten_times_and_no_more(desk: Desk) -> None:
    otp_id, otp = await desk.start()
    outcomes = [await outcome(desk.check(otp_id, otp)) for _ in range(11)]
    assert outcomes == ["right"] * 10 + ["INVALID_OTP"]


async def test_twins_in_one_list_spend_a_code_for_one_key(desk: Desk) -> None:
    mine, _ = await desk.start()
    other, _ = await desk.start()
    keys = [device(), device(2), device(), device(2)]
    items = [spending(desk, mine, by=key) for key in keys]
    items += [spending(desk, other, by=device(2)), spending(desk, "otp_" + "a" * 32)]
    results = await desk.db.write(lambda tx: spend(tx, items))
    assert results == [True, False, True, False, True, False]
    await desk.db.write(lambda tx: complete(tx, [*items[:2], items[4]]))
    late = [msgspec.structs.replace(item, now=item.now + 60_000) for item in items]
    assert await desk.db.write(lambda tx: spend(tx, late)) == [False] * 6


async def test_fifty_rivals_with_two_keys_spend_a_code_for_one_of_them(desk: Desk) -> None:
    otp_id, _ = await desk.start()
    keys = [device(1 + number % 2) for number in range(50)]
    items = [spending(desk, otp_id, by=key) for key in keys]
    results = await asyncio.gather(*(desk.db.write_together(_spend, item) for item in items))
    winners = {item.thumbprint for item, won in zip(items, results, strict=True) if won}
    assert len(winners) == 1
    assert results.count(True) == 25


async def test_rivals_in_two_processes_spend_a_code_for_one_key(postgres_url: str, ring: KeyRing) -> None:
    """The second one comes while the first has spent the code and not committed yet."""
    mine, others = Database(postgres_url), Database(postgres_url)
    try:
        desk = Desk(mine, ring, await an_app(mine, ring), SetClock())
        otp_id, _ = await desk.start()
        first, second = spending(desk, otp_id), spending(desk, otp_id, by=device(2))
        has_spent, may_commit = threading.Event(), threading.Event()

        def spend_slowly(tx: Transaction) -> list[bool]:
            won = spend(tx, [first])
            has_spent.set()
            assert may_commit.wait(4)
            return won

        slow = asyncio.create_task(mine.write(spend_slowly))
        assert await asyncio.to_thread(has_spent.wait, 4)
        quick = asyncio.create_task(others.write(lambda tx: spend(tx, [second])))
        await one_waits_for_a_lock(mine)
        may_commit.set()
        assert [*await asyncio.gather(slow, quick)] == [[True], [False]]
    finally:
        mine.close()
        others.close()


async def one_waits_for_a_lock(database: Database) -> None:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(3):
        while not await database.read(lambda tx: tx.execute(waiting).scalar_one()):
            await asyncio.sleep(0.01)


def _spend(tx: Any, items: list[Spend]) -> list[bool]:
    return spend(tx, items)


# Asking for a code


@pytest.mark.parametrize(
    "email",
    [
        "",
        "bob",
        "a@x.com as",
        "a@x.com as b",
        "a@x.com as b@y.com as c@z.com",
        "bob@example.com\r\nBcc: eve@x.com",
    ],
)
async def test_what_is_no_address_gets_no_mail(desk: Desk, email: str) -> None:
    with pytest.raises(InvalidRequest):
        await desk.codes.start(desk.app, email, "", ADDRESS)
    assert await desk.jobs() == []


async def test_demo_users_have_no_mailbox(desk: Desk) -> None:
    with pytest.raises(InvalidRequest, match="demo"):
        await desk.codes.start(desk.app, "alice@demo.local", "", ADDRESS)


@pytest.mark.parametrize(
    ("limits", "asked"),
    [
        (
            replace(Limits.off(), mails_per_mailbox=Limit(3, 3_600)),
            [
                ("bob@gmail.com", "192.0.2.1"),
                ("b.ob+x@gmail.com", "192.0.2.2"),
                ("bob@googlemail.com", "::1"),
            ],
        ),
        (
            replace(Limits.off(), mails_per_address=Limit(3, 3_600)),
            [(f"bob{n}@example.com", f"2001:db8:0:1::{n}") for n in range(1, 4)],
        ),
        (
            replace(Limits.off(), mails_per_app=Limit(3, 3_600)),
            [(f"bob{n}@example.com", f"192.0.2.{n}") for n in range(3)],
        ),
    ],
    ids=["mailbox", "address", "app"],
)
async def test_mails_are_limited_per_mailbox_address_and_app(
    database: Database, ring: KeyRing, limits: Limits, asked: list[tuple[str, str]]
) -> None:
    clock = SetClock(NOON + 600_000)
    desk = Desk(database, ring, await an_app(database, ring), clock, limits)
    for email, address in asked:
        await desk.codes.start(desk.app, email, "", address)
    with pytest.raises(RateLimited) as caught:
        await desk.codes.start(desk.app, asked[0][0], "", asked[0][1])
    assert caught.value.retry_after_seconds == 3_000
    assert caught.value.message == "Too many codes were asked for. Try again in 50 min."
    assert len(await desk.jobs()) == 3
    clock.pass_seconds(3_000)
    assert await desk.codes.start(desk.app, asked[0][0], "", asked[0][1])


async def test_a_thousand_requests_at_once_send_twenty_mails(database: Database, ring: KeyRing) -> None:
    desk = Desk(database, ring, await an_app(database, ring), SetClock(), Limits())
    asked = (
        desk.codes.start(desk.app, f"bob+{n}@example.com", "", f"192.0.{n % 4}.{n // 4}")
        for n in range(1_000)
    )
    outcomes = Counter(await asyncio.gather(*map(outcome, asked)))
    assert outcomes == {"right": 20, "rate_limited": 980}
    assert len(await desk.jobs()) == 20


async def test_nobody_is_looked_up_unless_the_app_wants_it(desk: Desk) -> None:
    """The answer cannot tell who is known, because nothing that happens depends on it."""
    statements: list[str] = []

    asked: list[str] = []

    async def hopeless(_app: App, email: str, _intent: str) -> Refused:
        asked.append(email)
        return Refused("No.", code=USER_NOT_REGISTERED)

    with noticed(lambda _connection, statement, _parameters: statements.append(statement)):
        await desk.codes.start(desk.app, "bob@example.com", "login", ADDRESS, hopeless=hopeless)
    touched = {table for table in metadata.tables if any(f" {table} " in each for each in statements)}
    assert touched & {"users", "identities", "admissions", "sessions"} == set()
    assert "email_codes" in touched
    assert asked == []


async def test_an_app_may_refuse_the_hopeless_without_a_mail_but_not_without_limit(
    database: Database, ring: KeyRing
) -> None:
    plain = await an_app(database, ring)
    app = replace(plain, settings=replace(plain.settings, refuse_hopeless_at_step_1=True))
    limits = replace(Limits.off(), mails_per_address=Limit(3, 3_600))
    desk = Desk(database, ring, app, SetClock(), limits)

    async def hopeless(asked: App, email: str, intent: str) -> Refused | None:
        assert (asked, intent) == (app, "login")
        return Refused("No.", code=USER_NOT_REGISTERED) if email == "bob@example.com" else None

    start = partial(desk.codes.start, app, intent="login", address=ADDRESS, hopeless=hopeless)
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            await start("BOB@example.com")
        assert caught.value.code == USER_NOT_REGISTERED
    assert await desk.jobs() == []
    await start("eve@example.com")
    assert len(await desk.jobs()) == 1
    assert await outcome(start("bob@example.com")) == "rate_limited"


# What is left behind


async def test_neither_the_database_nor_the_log_knows_the_code(desk: Desk) -> None:
    with capture_logs() as lines:
        otp_id = await desk.codes.start(desk.app, "bob@example.com", "", ADDRESS)
        waiting = await everything_stored(desk)
        otp = (await desk.mails())[-1].otp
        await outcome(desk.check(otp_id, wrong(otp)))
        await desk.check(otp_id, otp)
        await outcome(desk.check(otp_id, wrong(otp)))
    for written in (waiting, await everything_stored(desk), str(lines)):
        assert otp not in written
        assert wrong(otp) not in written
    assert otp_id in waiting


async def everything_stored(desk: Desk) -> str:
    tables = metadata.tables.values()
    return str(await desk.db.read(lambda tx: [tx.execute(select(table)).all() for table in tables]))


async def test_the_same_code_has_another_digest_under_every_otp_id(desk: Desk) -> None:
    digests = {(await desk.row((await desk.start())[0])).code_digest for _ in range(3)}
    assert len(digests) == 3


async def test_expired_codes_are_forgotten_a_few_at_a_time(desk: Desk) -> None:
    for _ in range(5):
        await desk.start()
    desk.clock.pass_seconds(900)
    otp_id, otp = await desk.start()
    now = desk.clock()
    pruned = [await desk.db.write(lambda tx: prune(tx, now, 2), patient=True) for _ in range(4)]
    assert pruned == [2, 2, 1, 0]
    assert await desk.check(otp_id, otp)
