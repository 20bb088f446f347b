"""What the tasks of an app must keep to be taken: each fault is a sentence with file and line."""

from typing import Any

import pytest

from admit.events.catalog import TYPES
from admit.task.declarations import Called, Decides, Declaration, Every, Http, On, Trigger
from admit.tasks.declared_rules import TASKS_MAX, faults_of


def declared(trigger: Trigger, name: str = "welcome", line: int = 3, **choices: Any) -> Declaration:
    return Declaration(name=name, trigger=trigger, file="door.py", line=line, **choices)


def complaint(trigger: Trigger, **choices: Any) -> str:
    (problem,) = faults_of([declared(trigger, **choices)])
    assert (problem.file, problem.line) == ("door.py", 3)
    return problem.message


def test_tasks_that_keep_the_rules_are_taken() -> None:
    triggers: list[Trigger] = [
        Decides(),
        On(
            types=("user.enrolled", "device.enrolled"),
            once="device",
            user_types=("prod",),
            methods=("email_code", "sso"),
            email_domains=("example.com",),
            equals=(("user.data.plan", "team"), ("user.data.trial", None)),
        ),
        Every(cron="*/5 8-18 * * MON-FRI", timezone="America/New_York"),
        Http(path="/"),
        Http(path="/crm/v2/hook.json", methods=("GET", "POST")),
        Called(),
    ]
    assert faults_of([declared(each, f"task_{n}") for n, each in enumerate(triggers)]) == ()
    assert faults_of([]) == ()


def test_every_type_of_event_can_be_named() -> None:
    assert faults_of([declared(On(types=tuple(TYPES)))]) == ()


def test_an_unknown_type_of_event_names_the_nearest() -> None:
    assert complaint(On(types=("user.enroled",))) == (
        "'user.enroled' is not a type of event. Is 'user.enrolled' meant? /schemas lists the types."
    )


def test_a_task_without_events_is_told_to_name_some() -> None:
    assert complaint(On(types=())).startswith("Name the events to run after")


@pytest.mark.parametrize(
    ("cron", "timezone", "reason"),
    [
        ("0 7 * *", "UTC", "it does not have 5 fields"),
        ("0 0 7 * * *", "UTC", "it does not have 5 fields"),
        ("@daily", "UTC", "it does not have 5 fields"),
        ("61 * * * *", "UTC", "bad minute"),
        ("0 0 30 2 *", "UTC", "bad day-of-month"),
        ("0 7 * * FUNDAY", "UTC", "bad day-of-week"),
        ("*/0 * * * *", "UTC", "bad minute"),
        ("²  * * * *", "UTC", "bad minute"),
        ("1," * 200 + "1 * * * *", "UTC", "it does not have 5 fields"),
        ("0 7 * * *", "Europe/Berlim", "is not a time zone"),
        ("0 7 * * *", "Europe", "is not a time zone"),
        ("0 7 * * *", "../../etc/passwd", "is not a time zone"),
        ("0 7 * * *", "", "is not a time zone"),
    ],
)
def test_times_that_never_come_are_refused(cron: str, timezone: str, reason: str) -> None:
    assert reason in complaint(Every(cron=cron, timezone=timezone))


def test_a_name_stands_once_in_an_app() -> None:
    (problem,) = faults_of([declared(Called(), line=3), declared(Called(), line=9)])
    assert (problem.line, problem.message) == (9, "There is a task 'welcome' already, in door.py:3.")


def test_a_verb_on_a_path_is_answered_once() -> None:
    first = declared(Http(path="/hook", methods=("GET", "POST")), "first", 3)
    other_verb = declared(Http(path="/hook", methods=("PUT",)), "other_verb", 6)
    second = declared(Http(path="/hook", methods=("POST", "DELETE")), "second", 9)
    (problem,) = faults_of([second, other_verb, first])
    assert (problem.line, problem.message) == (9, "'first' in door.py:3 answers POST /hook already.")


@pytest.mark.parametrize(
    "path", ["", "hook", "/hook/", "//hook", "/a b", "/ä", "/..", "/{id}", "/" + "a" * 200]
)
def test_paths_that_no_request_would_reach_are_refused(path: str) -> None:
    assert "cannot be the path of a task" in complaint(Http(path=path))


@pytest.mark.parametrize("name", ["", "Welcome", "1st", "_hidden", "a" * 64, "späti", "a-b"])
def test_names_are_small_letters_digits_and_underscores(name: str) -> None:
    assert "cannot be the name of a task" in complaint(Called(), name=name)


@pytest.mark.parametrize("trigger", [Decides(), Http(path="/hook")])
def test_who_waits_for_an_answer_cannot_be_made_to_wait_for_retries(trigger: Trigger) -> None:
    assert "has no retries=" in complaint(trigger, retries_seconds=(5.0,))
    assert faults_of([declared(trigger, retries_seconds=())]) == ()


@pytest.mark.parametrize(
    ("choices", "word"),
    [
        ({"timeout_seconds": 0}, "timeout="),
        ({"timeout_seconds": 301}, "timeout="),
        ({"timeout_seconds": float("nan")}, "timeout="),
        ({"at_once": 0}, "at_once="),
        ({"at_once": 65}, "at_once="),
        ({"retries_seconds": (1.0,) * 21}, "retries="),
        ({"retries_seconds": (float("nan"),)}, "retries="),
        ({"retries_seconds": (-1.0,)}, "retries="),
        ({"env": ("crm_token",)}, "env="),
        ({"env": tuple(f"A{n}" for n in range(51))}, "env="),
    ],
)
def test_limits_are_kept(choices: dict[str, Any], word: str) -> None:
    assert word in complaint(Called(), **choices)


@pytest.mark.parametrize(
    ("choices", "word"),
    [
        ({"user_types": ("gold",)}, "user_types="),
        ({"methods": ("pigeon",)}, "methods="),
        ({"email_domains": ("not a domain",)}, "email_domains="),
        ({"email_domains": ("Example.COM",)}, "is written 'example.com'"),
        ({"equals": (("", 1),)}, "equals="),
        ({"equals": (("user..plan", 1),)}, "equals="),
        ({"equals": (("a.b.c.d.e.f.g.h.i", 1),)}, "equals="),
        ({"equals": (("user.name", "x" * 501),)}, "equals="),
    ],
)
def test_conditions_are_those_that_endpoints_have(choices: dict[str, Any], word: str) -> None:
    assert word in complaint(On(types=("user.enrolled",), **choices))


def test_an_app_has_so_many_tasks() -> None:
    many = [declared(Called(), f"task_{n}") for n in range(TASKS_MAX + 1)]
    assert [each.message for each in faults_of(many)] == [f"An app has at most {TASKS_MAX} tasks."]
