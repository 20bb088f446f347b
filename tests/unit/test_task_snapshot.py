"""What a task reads stays as it was, and what it writes lies over it, until the server commits it."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from admit import task, testing
from admit.task.db import UserType
from admit.task.wire import Change, LockUser, MoveSession, NewCall, WriteUser

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.org"


def context_with(app: testing.App) -> task.CallContext:
    return testing.call(app=app)


def entry_of(change: Change) -> object:
    assert isinstance(change, WriteUser)
    return msgspec.json.decode(change.entry)


def test_what_was_read_once_stays_whatever_others_do() -> None:
    app = testing.App([testing.user(ADA, type="eval")])
    first, other = context_with(app), context_with(app)
    assert first.db.users.get(ADA) == app.user(ADA)
    assert first.db.users.get(BOB) is None
    other.db.users.update(ADA, type="prod")
    other.db.users.create(BOB, type="prod")
    app.apply(other)
    seen = first.db.users.get(ADA)
    assert seen is not None
    assert seen.type == "eval"
    assert first.db.users.get(BOB) is None
    assert [user.type for user in first.db.users.find()] == ["eval"]


def test_two_that_write_what_both_have_read_are_a_conflict() -> None:
    app = testing.App([ADA])
    first, second = context_with(app), context_with(app)
    first.db.users.update(ADA, eval_days_left=1)
    second.db.users.update(ADA, eval_days_left=2)
    app.apply(first)
    with pytest.raises(AssertionError, match="conflict"):
        app.apply(second)


def test_changes_of_one_user_are_one_with_the_version_that_was_read() -> None:
    app = testing.App([testing.user(ADA, type="eval", data={"plan": "free"})])
    context = context_with(app)
    context.db.users.update(ADA, type="prod")
    context.db.users.update(ADA, data={"plan": "team", "displayName": " Ada L. "})
    context.db.users.deactivate(ADA)
    [change] = context.changes
    assert change.version == "1"
    assert entry_of(change) == {
        "userId": ADA,
        "type": "prod",
        "data": {"plan": "team", "displayName": " Ada L. "},
        "deactivated": True,
    }
    seen = context.db.users.get(ADA)
    assert seen is not None
    assert (seen.type, seen.name, seen.active) == ("prod", "Ada L.", False)
    assert app.user(ADA).type == "eval"
    app.apply(context)
    assert app.user(ADA) == seen


def test_a_user_is_created_found_and_changed_in_one_run() -> None:
    app = testing.App([ADA])
    context = context_with(app)
    until = datetime(2027, 1, 1, tzinfo=UTC)
    context.db.users.create(BOB, type="eval", data={"team": 1}, valid_until=until, eval_days_left=5)
    context.db.users.update(BOB, type="prod")
    context.db.users.lock(BOB)
    assert [user.user_id for user in context.db.users.find()] == [ADA, BOB]
    assert [user.user_id for user in context.db.users.find("bob")] == [BOB]
    written, locked = context.changes
    assert written.version == locked.version == ""
    assert entry_of(written) == {
        "userId": BOB,
        "type": "prod",
        "data": {"team": 1},
        "validUntil": "2027-01-01T00:00:00+00:00",
        "evalDaysLeft": 5,
    }
    seen = context.db.users.get(BOB)
    assert seen is not None
    assert (seen.valid_until, seen.uid, seen.email) == (until, "", BOB)
    with pytest.raises(LookupError, match="already"):
        context.db.users.create(BOB, type="prod")


def test_a_search_finds_users_as_the_task_has_left_them() -> None:
    app = testing.App([testing.user(name, type="eval") for name in (ADA, BOB, EVE)])
    context = context_with(app)
    context.db.users.update(ADA, type="prod")
    context.db.users.deactivate(BOB)

    def found(kind: UserType, active: bool | None = None) -> list[str]:
        return [user.user_id for user in context.db.users.find(type=kind, active=active)]

    assert found("eval") == [BOB, EVE]
    assert found("prod") == [ADA]
    assert found("eval", active=True) == [EVE]


def test_a_search_walks_through_all_pages() -> None:
    app = testing.App([f"user{n:03}@example.com" for n in range(250)])
    assert len(list(context_with(app).db.users.find("user"))) == 250


def test_to_change_what_was_read_changes_nobody() -> None:
    app = testing.App([testing.user(ADA, data={"teams": []})])
    context = context_with(app)
    ada = context.db.users.get(ADA)
    assert ada is not None
    assert ada.data is not None
    ada.data["teams"].append("x")
    again = context.db.users.get(ADA)
    assert again is not None
    assert again.data == {"teams": []}


def test_sessions_of_a_user_who_is_locked_show_it() -> None:
    app = testing.App([ADA], sessions=[testing.session("ses_1"), testing.session("ses_2", state="RESET")])
    context = context_with(app)
    context.db.users.lock(ADA)
    assert [session.state for session in context.db.sessions.of(ADA)] == ["LOCKED", "RESET"]
    assert context.changes == (LockUser(ADA, "1", True),)
    app.apply(context)
    assert [session.state for session in app.sessions] == ["LOCKED", "RESET"]


def test_the_last_move_of_a_session_counts_and_a_wiped_one_moves_no_more() -> None:
    app = testing.App([ADA], sessions=[testing.session("ses_1"), testing.session("ses_2")])
    context = context_with(app)
    context.db.sessions.lock("ses_1")
    [first, _] = context.db.sessions.of(ADA)
    assert first.state == "LOCKED"
    assert context.db.sessions.of(ADA, state="ENROLLED")[0].id == "ses_2"
    context.db.sessions.unlock(first)
    context.db.sessions.wipe("ses_2")
    context.db.sessions.reauthenticate("ses_1")
    assert context.changes == (
        MoveSession("ses_1", "1", "reauthenticate"),
        MoveSession("ses_2", "1", "wipe"),
    )
    with pytest.raises(ValueError, match="was wiped"):
        context.db.sessions.unlock("ses_2")


def test_devices_are_read_once() -> None:
    app = testing.App([ADA], devices={ADA: [testing.device("tablet-1", platform="android")]})
    [device] = context_with(app).db.devices.of(ADA)
    assert (device.deviceIdentifier, device.platform) == ("tablet-1", "android")


@pytest.mark.parametrize(
    ("error", "says", "write"),
    [
        (LookupError, "no user", lambda db: db.users.update("nobody", type="prod")),
        (LookupError, "no user", lambda db: db.users.lock("nobody")),
        (LookupError, "no session", lambda db: db.sessions.wipe("ses_9")),
        (ValueError, "eval or prod", lambda db: db.users.update(ADA, type="admin")),
        (ValueError, "from 0 to", lambda db: db.users.update(ADA, eval_days_left=-1)),
        (ValueError, "no time zone", lambda db: db.users.update(ADA, valid_until=datetime(2027, 1, 1))),
        (ValueError, "16384", lambda db: db.users.update(ADA, data={"x": "y" * 20_000})),
    ],
)
def test_what_no_user_can_be_is_not_written(error: type[Exception], says: str, write: object) -> None:
    context = context_with(testing.App([ADA]))
    assert callable(write)
    with pytest.raises(error, match=says):
        write(context.db)
    assert context.changes == ()


def test_a_run_changes_a_thousand_and_no_more() -> None:
    context = context_with(testing.App())
    for number in range(1_000):
        context.db.users.create(f"user{number}", type="prod")
    with pytest.raises(ValueError, match="at most 1,000"):
        context.db.users.create("one-more", type="prod")
    context.db.users.update("user1", type="eval")


def test_a_decision_reads_and_does_not_write() -> None:
    context = testing.decision(app=testing.App([BOB]))
    assert context.db.users.get(BOB) is not None
    for write in (
        lambda: context.db.users.create("x", type="prod"),
        lambda: context.db.users.lock(BOB),
        lambda: context.db.sessions.wipe("ses_1"),
    ):
        with pytest.raises(PermissionError, match="cannot change the app"):
            write()


# Calls


def test_calls_have_ids_that_are_the_same_at_every_attempt() -> None:
    def calls(attempt: int) -> tuple[NewCall, ...]:
        context = testing.call(run_id="run_7", attempt=attempt)
        assert context.call("first", {"a": 1}) == context.calls[0].run_id
        context.call("second", after=timedelta(minutes=1), queue="crm")
        context.call("third", at=datetime(2026, 1, 2, tzinfo=UTC))
        return context.calls

    first, second, third = calls(1)
    assert (first, second, third) == calls(2)
    assert len({first.run_id, second.run_id, third.run_id}) == 3
    assert (second.due_at - first.due_at, second.queue) == (60_000, "crm")
    assert third.due_at == 1_767_312_000_000


def test_the_id_of_a_call_is_the_published_digest() -> None:
    from hashlib import sha256

    context = testing.call(run_id="run_7")
    assert context.call("other") == "run_" + sha256(b"run_7.1").hexdigest()[:40]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"task": "No"}, "not the name of a task"),
        ({"after": -1}, "0 seconds to a year"),
        ({"after": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)}, "not both"),
        ({"at": datetime(2026, 1, 1)}, "no time zone"),
        ({"queue": "no good"}, "A queue is named by"),
        ({"parameters": {"x": object()}}, "cannot be written as JSON"),
        ({"parameters": {"x": "y" * 1_000_000}}, "1000000 are allowed"),
    ],
)
def test_a_call_that_cannot_be_is_refused_where_it_is_made(given: dict[str, object], says: str) -> None:
    context = testing.call()
    with pytest.raises(ValueError, match=says):
        context.call(**{"task": "other"} | given)  # type: ignore[arg-type]
    assert context.calls == ()


def test_a_run_calls_a_thousand_and_no_more() -> None:
    context = testing.call()
    for _ in range(1_000):
        context.call("other")
    with pytest.raises(ValueError, match="at most 1,000"):
        context.call("other")
