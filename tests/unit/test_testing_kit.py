"""Tasks of an operator, tested as the guide shows it: plain pytest and admit.testing."""

from datetime import UTC, datetime, timedelta

import pytest

from admit import task, testing
from admit.task.wire import WriteUser


@task.decides
def by_list(context: task.DecisionContext) -> task.Verdict:
    """Asks the CRM who may come in, and knows the device."""
    reply = context.http.get("https://crm.example.com/people", params={"email": context.email})
    if reply.status == 404:
        return task.refuse("NOT_ON_THE_LIST", "You are not on the list.", reason=context.deviceIdentifier)
    return task.admit("prod", data=reply.raise_for_status().json())


@task.on("user.enrolled", once="device", env=["CRM_KEY"])
def welcome(context: task.EventContext) -> None:
    """Tells the CRM, and looks again in a week."""
    context.http.post(
        "https://crm.example.com/welcomes",
        json={"user": context.user.user_id, "device": context.deviceIdentifier},
        headers={"Authorization": f"Bearer {context.env['CRM_KEY']}"},
    ).raise_for_status()
    context.log.info("told", key=context.env["CRM_KEY"])
    context.call("look_again", {"user": context.user.user_id}, after=timedelta(days=7))


@task.every("0 7 * * *")
def expire(context: task.ScheduleContext) -> None:
    """Deactivates who has not been here for a month."""
    for user in context.db.users.find(active=True):
        if user.last_login_at is None or context.scheduled_at - user.last_login_at > timedelta(days=30):
            context.db.users.deactivate(user)


@task.http("/whoami", methods=["POST"], authenticate=task.signed_in)
def whoami(context: task.RequestContext) -> object:
    """Says who asks."""
    assert context.caller is not None
    return {"user": context.caller.user_id, "sent": context.json(), "page": context.query.get("page")}


def test_a_decision_is_tested_with_a_scripted_outside() -> None:
    http = testing.Http()
    http.reply("GET", "https://crm.example.com/people", json={"plan": "team"})
    verdict = by_list(testing.decision("ada@example.com", http=http))
    assert verdict == task.admit("prod", data={"plan": "team"})
    assert http.requests[0].url == "https://crm.example.com/people?email=ada%40example.com"


def test_answers_of_the_outside_are_given_in_their_order_and_the_last_again() -> None:
    http = testing.Http()
    http.reply("GET", "https://crm.example.com/people", 503)
    http.reply("GET", "https://crm.example.com/people", 404)
    with pytest.raises(task.HttpError, match="The answer was 503"):
        by_list(testing.decision(http=http))
    for _ in range(2):
        refused = by_list(testing.decision(http=http, device="tablet-1"))
        assert refused == task.refuse("NOT_ON_THE_LIST", "You are not on the list.", reason="tablet-1")


def test_a_request_that_the_test_does_not_know_fails_it_with_a_sentence() -> None:
    with pytest.raises(
        AssertionError, match=r"sent GET https://crm\.example\.com/people\?email=.*http\.reply"
    ):
        by_list(testing.decision())


def test_an_outside_that_does_not_answer_is_met_as_in_earnest() -> None:
    http = testing.Http()
    http.fail("GET", "https://crm.example.com/people")
    with pytest.raises(task.NotAnswered):
        by_list(testing.decision(http=http))


def test_what_a_task_sends_says_and_calls_can_be_looked_at() -> None:
    http, clock = testing.Http(), testing.Clock()
    http.reply("POST", "https://crm.example.com/welcomes", 201)
    context = testing.event(
        "user.enrolled",
        user="ada@example.com",
        device="tablet-1",
        http=http,
        clock=clock,
        env={"CRM_KEY": "very-secret"},
        run_id="run_9",
    )
    welcome(context)
    [sent] = http.requests
    assert sent.json() == {"user": "ada@example.com", "device": "tablet-1"}
    assert sent.headers["Authorization"] == sent.headers["authorization"] == "Bearer very-secret"
    assert sent.key == "run_9.1"
    assert [(line.text, line.fields) for line in context.log.lines] == [("told", {"key": "***"})]
    [call] = context.calls
    assert (call.task, call.due_at - clock.ms()) == ("look_again", 7 * 86_400_000)


def test_a_schedule_is_tested_with_an_app_in_memory_and_a_clock() -> None:
    app = testing.App(
        [
            testing.user("ada@example.com"),
            testing.user("bob@example.com", last_login_at=datetime(2026, 1, 25, tzinfo=UTC)),
        ]
    )
    clock = testing.Clock()
    clock.advance(timedelta(days=31))
    context = testing.schedule(app=app, clock=clock)
    expire(context)
    [change] = context.changes
    assert isinstance(change, WriteUser)
    app.apply(context)
    assert [user.active for user in app.users] == [False, True]
    again = testing.schedule(app=app, clock=clock)
    expire(again)
    assert again.changes == ()


def test_a_request_is_answered_as_the_server_would() -> None:
    asked = testing.request("POST", "/whoami", json=[1], query={"page": "2"}, caller="ada@example.com")
    answer = testing.answer(whoami, asked)
    assert (answer.status, answer.body) == (200, '{"user":"ada@example.com","sent":[1],"page":"2"}')
    assert testing.answer(whoami, testing.request("POST", "/whoami")).status == 401
    malformed = testing.request("POST", "/whoami", body="{", caller="ada@example.com")
    assert testing.answer(whoami, malformed).status == 400


def test_an_event_that_is_about_nobody_says_so() -> None:
    context = testing.event("test.ping", user=None)
    with pytest.raises(LookupError, match=r"test\.ping is about no user"):
        _ = context.user


def test_times_are_what_the_clock_shows() -> None:
    clock = testing.Clock(datetime(2026, 5, 1, tzinfo=UTC))
    context = testing.event("user.locked", clock=clock)
    assert context.run.now == context.event.occurred_at == datetime(2026, 5, 1, tzinfo=UTC)
    clock.advance(90)
    context.log.info("later")
    assert context.log.lines[0].at == clock.ms()
