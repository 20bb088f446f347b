"""What operators write with the kit: decorators, verdicts, responses, the log, variables."""

from typing import TYPE_CHECKING

import pytest

from admit import task, testing
from admit.task.declarations import AT_ONCE, Called, Every, Http, On
from admit.task.decorators import mark_of
from admit.task.environment import Env, Masking
from admit.task.log import LINE_CHARACTERS_MAX
from admit.task.responses import response_of
from admit.task.wire import Said


@task.decides
def decide(context: task.DecisionContext) -> task.Verdict:
    """Lets colleagues in.

    And nobody else.
    """
    return task.admit("prod") if context.email.endswith("@example.com") else task.refuse("NO", "Not you.")


@task.decides(env=["KEY"])
def decide_by_list(context: task.DecisionContext) -> task.Verdict:
    return task.refuse("NO", context.env["KEY"])


@task.on(
    "user.enrolled",
    "device.enrolled",
    once="device",
    user_types="prod",
    methods=["sso"],
    equals={"user.data.plan": "team"},
    timeout=5,
    retries=[1, 60.5],
    at_once=2,
    env=["KEY", "KEY"],
)
def welcome(context: task.EventContext) -> None:
    context.log.info("welcome", who=context.user.user_id)


@task.every("0 7 * * *", timezone="Europe/Berlin", retries=())
def clean_up(context: task.ScheduleContext) -> None: ...


@task.http("/welcome", methods=["GET", "POST"], authenticate=task.bearer("CRM_KEY"), env=["KEY"])
def answer_crm(context: task.RequestContext) -> dict[str, str]:
    return {"path": context.path}


@task.called
def helper(context: task.CallContext) -> object:
    return context.parameters


if TYPE_CHECKING:  # what a type checker tells operators before the server does

    @task.decides  # type: ignore[type-var]
    def forgets_to_decide(context: task.DecisionContext) -> None: ...

    @task.decides(env=["KEY"])  # type: ignore[type-var]
    def takes_an_event(context: task.EventContext) -> task.Verdict:
        return task.admit("prod")

    @task.on("user.enroled")  # type: ignore[arg-type]
    def misspelt(context: task.EventContext) -> None: ...

    @task.http("/open")  # type: ignore[call-arg]
    def lets_everybody_in(context: task.RequestContext) -> None: ...

    @task.called(retires=())  # type: ignore[call-overload, untyped-decorator]
    def misnamed(context: task.CallContext) -> None: ...


# Decorators


def test_a_decorated_function_stays_as_it_is() -> None:
    assert decide(testing.decision("ada@example.com")) == task.admit("prod")
    assert decide(testing.decision("eve@example.org")) == task.refuse("NO", "Not you.")
    assert helper(testing.call({"a": 1})) == {"a": 1}
    assert decide.__name__ == "decide"


def test_a_decorator_says_what_the_task_is() -> None:
    mark = mark_of(welcome)
    assert mark is not None
    assert mark.declaration.trigger == On(
        types=("user.enrolled", "device.enrolled"),
        once="device",
        user_types=("prod",),
        methods=("sso",),
        equals=(("user.data.plan", "team"),),
    )
    assert mark.declaration.timeout_seconds == 5.0
    assert mark.declaration.retries_seconds == (1.0, 60.5)
    assert (mark.declaration.at_once, mark.declaration.env) == (2, ("KEY",))


def test_schedules_requests_and_calls_are_declared() -> None:
    schedule, request, call = mark_of(clean_up), mark_of(answer_crm), mark_of(helper)
    assert schedule is not None
    assert schedule.declaration.trigger == Every(cron="0 7 * * *", timezone="Europe/Berlin")
    assert (schedule.declaration.at_once, schedule.declaration.retries_seconds) == (1, ())
    assert request is not None
    assert request.declaration.trigger == Http(path="/welcome", methods=("GET", "POST"))
    assert request.declaration.env == ("KEY", "CRM_KEY")
    assert call is not None
    assert call.declaration.trigger == Called()
    assert (call.declaration.at_once, call.declaration.retries_seconds) == (AT_ONCE, None)


def test_what_is_no_function_is_no_task() -> None:
    with pytest.raises(TypeError, match="A task is a function"):
        task.called(print)


# Verdicts


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        ("not-invited", "No.", "A code is made of"),
        ("A" * 65, "No.", "A code is made of"),
        ("NO", "", "one line of ASCII"),
        ("NO", "Nein, schön", "one line of ASCII"),
        ("NO", "two\nlines", "one line of ASCII"),
        ("NO", "Dear {name}", "no braces"),
        ("NO", "x" * 301, "at most 300"),
    ],
)
def test_a_refusal_that_no_client_could_show_is_not_made(code: str, message: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        task.refuse(code, message)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"text": "x" * 16_384}, "bytes; 16384 are allowed"),
        ({"what": object()}, "cannot be written as JSON"),
        ([], "data is a mapping"),
    ],
)
def test_user_data_that_the_server_would_not_keep_is_not_admitted(data: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        task.admit("prod", data=data)  # type: ignore[arg-type]


def test_user_data_is_nested_so_deep_and_no_deeper() -> None:
    def nested(depth: int) -> dict[str, object]:
        return {} if depth == 1 else {"in": nested(depth - 1)}

    assert task.admit("eval", data=nested(32)).type == "eval"
    with pytest.raises(ValueError, match="deeper than 32"):
        task.admit("eval", data=nested(33))


@pytest.mark.parametrize("kind", ["demo", "admin", ""])
def test_nobody_is_admitted_as_something_else(kind: str) -> None:
    with pytest.raises(ValueError, match="eval or prod"):
        task.admit(kind)  # type: ignore[arg-type]


def test_data_is_kept_as_it_was_when_the_verdict_was_made() -> None:
    data = {"teams": ["a"]}
    verdict = task.admit("prod", data=data)
    data["teams"].append("b")
    assert verdict.data == {"teams": ["a"]}


# Responses


@pytest.mark.parametrize(
    ("returned", "status", "kind", "body"),
    [
        (None, 204, None, ""),
        ("hello", 200, "text/plain; charset=utf-8", "hello"),
        ({"a": 1}, 200, "application/json", '{"a":1}'),
        ([1], 200, "application/json", "[1]"),
        (task.response(201, html="<p>"), 201, "text/html; charset=utf-8", "<p>"),
        (task.response(302, headers={"Location": "/x"}), 302, None, ""),
    ],
)
def test_what_an_http_task_returns_becomes_an_answer(
    returned: object, status: int, kind: str | None, body: str
) -> None:
    answer = response_of(returned)
    assert (answer.status, answer.headers.get("content-type"), answer.body) == (status, kind, body)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"status": 99}, "from 200 to 599"),
        ({"json": 1, "text": "x"}, "only one"),
        ({"json": object()}, "cannot be written as JSON"),
        ({"headers": {"X-A": "a\r\nSet-Cookie: b"}}, "one line of ASCII"),
        ({"headers": {"X A": "a"}}, "no name of a header"),
        ({"text": "ü" * 500_001}, "more than 1000000 bytes"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_not_made(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        task.response(**given)  # type: ignore[arg-type]


# Variables, and masks


def test_variables_show_their_names_alone() -> None:
    env = Env({"KEY": "secret", "A": "other"}, ("KEY", "A", "UNSET"))
    assert repr(env) == str(env) == "Env(A, KEY)"
    assert env["KEY"] == "secret"
    assert list(env) == ["KEY", "A"]
    with pytest.raises(KeyError, match="UNSET is not set"):
        env["UNSET"]
    with pytest.raises(KeyError, match=r"env=\['MORE'\]"):
        env["MORE"]


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("hunter2", "the word is hunter2!", "the word is ***!"),
        ("abc", "abc is too short", "abc is too short"),
        ("p w&d", "a=p+w%26d b=p%20w%26d", "a=*** b=***"),
        ("it's\nso", "{'v': \"it's\\nso\"}", "{'v': \"***\"}"),
        ("-----KEY\nMIIEvQIBADAN\n", "line MIIEvQIBADAN", "line ***"),
    ],
)
def test_values_are_masked_in_the_forms_in_which_they_are_met(value: str, text: str, shown: str) -> None:
    assert Masking({"V": value}).masked(text, 1_000) == shown


def test_no_part_of_a_value_is_left_where_a_text_ends() -> None:
    masking = Masking({"V": "0123456789"})
    for cut in range(1, 40):
        assert "01" not in masking.masked("a 0123456789 b 0123456789 c", cut)
    assert masking.masked("0123456789" * 900 + "x", 8_000) == "***" * 900 + "x"
    assert masking.masked("x" * 7_998 + "0123456789", 8_000) == "x" * 7_998 + "**"


# The log


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("cannot be shown")


def test_what_cannot_be_stored_is_not_said() -> None:
    context = testing.call()
    context.log.info("a\0b \ud800", odd=Broken(), large=2**70, off=float("inf"), on=True, none=None)
    [line] = context.log.lines
    assert line.text == "a\ufffdb ?"
    assert line.fields["odd"] == "<Broken that cannot be shown: RuntimeError>"
    assert line.fields["large"] == str(2**70)
    assert (line.fields["on"], line.fields["none"]) == (True, None)


def test_lines_and_their_fields_end_somewhere() -> None:
    context = testing.call()
    context.log.info("x" * 9_000, **{f"f{n}": "y" * 2_000 for n in range(40)})
    [line] = context.log.lines
    assert len(line.text) == LINE_CHARACTERS_MAX
    assert len(line.fields) == 32
    assert {len(value) for value in line.fields.values()} == {1_000}


def test_a_megabyte_of_lines_is_kept_and_no_more() -> None:
    context = testing.call()
    for _ in range(400):
        context.log.info("x" * 8_000)
    assert len(context.log.lines) == 125


def test_a_number_that_is_a_secret_is_masked() -> None:
    context = testing.call(env={"PIN": "123456"})
    context.log.info("the pin", pin=123456, other=12)
    assert context.log.lines == (
        Said(at=context.log.lines[0].at, level="info", text="the pin", fields={"pin": "***", "other": 12}),
    )
