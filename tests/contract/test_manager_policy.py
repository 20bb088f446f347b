"""The pages of the policy: the rule is put in force and taken back, tried out, and people are imagined."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from admit.accounts.apps import App
from tests.contract.manager_pages import FoundForm, Operator, Shown, signed_in
from tests.contract.served import Served
from tests.contract.task_desk import TaskDesk, desk
from tests.contract.test_policy_tests import DECIDE
from tests.receiver import PROD, always, receiving

__all__ = ["desk"]

POLICY = "/apps/notes/policy"
GOOGLE = {"name": "google", "type": "google", "client_id": "us", "client_secret": "s"}


@pytest.fixture
async def app(served: Served) -> App:
    return await served.app()


@pytest.fixture
async def operator(served: Served, app: App) -> AsyncIterator[Operator]:
    async with signed_in(served) as hands:
        yield hands


async def policy(served: Served, query: str = "") -> dict[str, Any]:
    answer = await served.ask("GET", f"/api/apps/notes/policy{query}", headers=served.command())
    found: dict[str, Any] = answer.json
    return found


async def changes(served: Served) -> Any:
    """What operators have changed, as it is written down."""
    answer = await served.ask("GET", "/api/apps/notes/changes", headers=served.command())
    assert answer.status == 200, answer.body
    return answer.json


async def put(served: Served, body: object, query: str = "") -> None:
    answer = await served.ask("PUT", f"/api/apps/notes/policy{query}", headers=served.command(), json=body)
    assert answer.status == 200, answer.body


def to(form: FoundForm, action: str) -> FoundForm:
    """The form as another of its buttons sends it."""
    return FoundForm(re.sub("/policy$", f"/policy/{action}", form.action), form.fields)


def undo_of(page: Shown) -> FoundForm:
    [form] = [each for each in page.forms if each.action.endswith(("/former", "/unset"))]
    return form


async def test_rule_is_put_in_force_and_taken_back(served: Served, operator: Operator) -> None:
    page = await operator.get(POLICY)
    assert "Policy version 1." in page.text
    form = page.form("/policy")
    assert form.fields["kind"] == "eval"
    saved = await operator.post(form, kind="domains", domains="example.com\nExample.org")
    assert saved.status == 200
    assert "Version 2 holds from the next first login." in saved.text
    assert (
        "Now production accounts for example.com, example.org, before evaluation accounts for everybody."
        in saved.text
    )
    assert (await policy(served))["policy"]["domains"] == ["example.com", "example.org"]
    again = await operator.post(undo_of(saved))
    assert "Version 3 is the former rule again." in again.text
    assert (await policy(served))["policy"]["kind"] == "eval"


async def test_what_differs_is_told(served: Served, operator: Operator) -> None:
    await put(served, {"kind": "webhook", "url": "https://crm.example.com/decide"})
    form = (await operator.get(POLICY)).form("/policy")
    assert (form.fields["url"], form.fields["hook_seconds"]) == ("https://crm.example.com/decide", "5")
    same = await operator.post(form)
    assert "Nothing was changed." in same.text
    saved = await operator.post(form, hook_seconds="2,5", hook_failure="eval", payload="full")
    for said in (
        "Time budget: 2.5 s, before 5.0 s.",
        "When it fails: admit as eval, before refuse.",
        "What is sent: Full, before userId and email.",
    ):
        assert said in saved.text
    now = (await policy(served))["policy"]
    assert (now["timeout_seconds"], now["on_failure"], now["payload"]) == (2.5, "eval", "full")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"kind": "domains", "domains": ""}, "Write at least one domain"),
        ({"kind": "domains", "domains": "gmail.com"}, "gmail.com"),
        ({"kind": "webhook", "url": ""}, "Write the address of the web hook"),
        ({"kind": "webhook", "url": "http://10.0.0.1/"}, "10.0.0.1"),
        ({"kind": "webhook", "url": "https://a.example/", "hook_seconds": "60"}, "is 1 to 15 seconds"),
        ({"kind": "webhook", "url": "https://a.example/", "hook_seconds": "soon"}, "Write seconds from 1"),
        ({"kind": "webhook", "url": "https://a.example/", "hook_failure": "maybe"}, "Choose refuse or eval"),
        ({"kind": "webhook", "url": "https://a.example/", "payload": "all"}, "Choose contract or full"),
        ({"kind": "task", "task": ""}, "Write the name of the task"),
        ({"kind": "anything"}, "Choose one of the rules."),
    ],
)
async def test_what_cannot_be_is_said_beside_what_was_typed(
    served: Served, operator: Operator, typed: dict[str, str], said: str
) -> None:
    form = (await operator.get(POLICY)).form("/policy")
    page = await operator.post(form, **typed)
    assert page.status == 400
    assert said in page.text
    shown = page.form("/policy").fields
    assert {
        name: shown.get(name, "") for name in typed if name not in ("kind", "hook_failure", "payload")
    } == {name: value for name, value in typed.items() if name not in ("kind", "hook_failure", "payload")}
    assert (await policy(served))["version"] == 1


async def test_rule_that_was_changed_meanwhile_is_not_overwritten_unseen(
    served: Served, operator: Operator
) -> None:
    form = (await operator.get(POLICY)).form("/policy")
    await put(served, {"kind": "reject"})
    page = await operator.post(form, kind="prod")
    assert page.status == 409
    assert "Somebody else has put version 2 in force meanwhile." in page.text
    assert (await policy(served))["policy"]["kind"] == "reject"
    await operator.post(page.form("/policy"))
    assert (await policy(served))["policy"]["kind"] == "prod"


async def test_way_in_gets_a_rule_of_its_own_and_loses_it(served: Served, operator: Operator) -> None:
    made = await served.ask("POST", "/api/apps/notes/providers", headers=served.command(), json=GOOGLE)
    assert made.status == 200, made.body
    page = await operator.get((await operator.get(POLICY)).links["google"])
    assert "No rule of its own: google" in page.text
    saved = await operator.post(page.form("/policy"), kind="prod")
    assert (await policy(served))["policies"]["google"]["kind"] == "prod"
    assert "google own rule" in saved.links
    undone = await operator.post(undo_of(saved))
    assert "google: the rule of the app holds again." in undone.text
    assert (await policy(served))["policies"] == {}
    back = await operator.post(undo_of(undone))
    assert back.status == 200


async def test_test_shows_what_was_sent_what_came_back_and_what_it_means(
    served: Served, operator: Operator
) -> None:
    form = to((await operator.get(POLICY)).form("/policy"), "test")
    async with receiving(always(**PROD)) as receiver:
        page = await operator.post(form, kind="webhook", url=receiver.url, email="ada@example.com")
    [call] = receiver.calls
    assert page.status == 200
    for said in (
        "Would be admitted as prod",
        "Takes a seat.",
        "127.0.0.1 not public, allowed by this server",
        "not encrypted",
        "1 of at most 3",
        "Name Ada Example",
        call.headers["webhook-id"],
        "POST /decide HTTP/1.1",
        "Answer · 200",
    ):
        assert said in page.text, said
    assert page.form("/policy").fields["url"] == receiver.url
    assert (await policy(served))["version"] == 1
    listed = await served.ask("GET", "/api/apps/notes/admissions", headers=served.command())
    assert listed.json["admissions"] == []


async def test_test_comes_as_a_part_of_the_page_where_htmx_asks(served: Served, operator: Operator) -> None:
    form = to((await operator.get(POLICY)).form("/policy"), "test")
    operator.http.headers["HX-Request"] = "true"
    async with receiving(always(500)) as receiver:
        part = await operator.post(form, kind="webhook", url=receiver.url)
    assert "<html" not in part.html
    assert "No answer that counts" in part.text
    assert "The person would be refused, and may try again at once." in part.text
    wrong = await operator.post(form, kind="webhook", url="http://10.0.0.1/")
    assert (wrong.status, "Nobody was asked" in wrong.text) == (200, True)


async def test_rule_that_asks_nobody_is_not_tested(served: Served, operator: Operator) -> None:
    form = to((await operator.get(POLICY)).form("/policy"), "test")
    page = await operator.post(form)
    assert page.status == 400
    assert "This rule asks nobody." in page.text


async def test_secret_is_masked_until_it_is_asked_for_and_rotated(served: Served, operator: Operator) -> None:
    secret = (await policy(served, "?secret=true"))["hook_secret"]
    page = await operator.get(POLICY)
    assert secret not in page.html
    assert f"•{secret.rstrip('=')[-3:]}" in page.html
    shown = await operator.post(to(page.form("/policy"), "secret"), url="https://a.example/typed")
    assert secret in shown.html
    assert shown.form("/policy").fields["url"] == "https://a.example/typed"
    rotated = await operator.post(page.form("/rotation"))
    new = (await policy(served, "?secret=true"))["hook_secret"]
    assert new != secret
    assert new in rotated.html


@pytest.mark.parametrize("role", ["support", "read-only"])
async def test_who_may_not_change_the_rule_sees_it(served: Served, app: App, role: Any) -> None:
    secret = (await policy(served, "?secret=true"))["hook_secret"]
    async with signed_in(served, role) as hands:
        page = await hands.get(POLICY)
        assert page.status == 200
        assert "Your role sees the rule and cannot change it." in page.text
        assert secret.rstrip("=")[-3:] not in page.html.partition("Signing secret")[2][:600]
        form = page.form("/policy")
        for action in ("", "/test", "/secret", "/rotation", "/former", "/unset"):
            sent = FoundForm(form.action + action, form.fields | {"setting": '{"kind":"prod"}'})
            answer = await hands.post(sent, kind="webhook", url="https://a.example/", **{"for": ""})
            assert answer.status == 403, action
            assert secret not in answer.html
    assert (await policy(served))["version"] == 1


async def test_former_rule_that_cannot_be_read_changes_nothing(served: Served, operator: Operator) -> None:
    form = (await operator.get(POLICY)).form("/policy")
    page = await operator.post(to(form, "former"), setting="{")
    assert (page.status, "The former rule cannot be read." in page.text) == (400, True)


async def test_page_of_a_way_in_that_is_none_is_refused(served: Served, operator: Operator) -> None:
    assert (await operator.get(f"{POLICY}?for=fax")).status == 400


async def test_task_is_chosen_tried_and_put_in_force(desk: TaskDesk) -> None:
    await desk.load(DECIDE)
    async with signed_in(desk.served) as operator:
        form = (await operator.get(POLICY)).form("/policy")
        assert form.fields["task"] == "decide"
        tried = await operator.post(to(form, "test"), kind="task")
        for said in ("Would be admitted as prod", "What the task is told", "asked about new@example.com"):
            assert said in tried.text, said
        saved = await operator.post(form, kind="task", task_seconds="3")
        assert "Now the task decide, before evaluation accounts for everybody." in saved.text
        missing = await operator.post(saved.form("/policy"), task="decide_nothing")
        assert (missing.status, "notes has no task decide_nothing" in missing.text) == (400, True)
    assert (await policy(desk.served))["policy"]["timeout_seconds"] == 3


# Simulating

SIMULATE = f"{POLICY}/simulate?imagine=1"


@pytest.mark.parametrize(
    ("rule", "query", "said"),
    [
        ({"kind": "eval"}, "email=new@example.com", "Comes in as eval"),
        ({"kind": "domains", "domains": ["example.com"]}, "email=new@example.com", "Takes a seat."),
        (
            {"kind": "domains", "domains": ["example.com"]},
            "email=new@example.com&email_proven=no",
            "Is refused: USER_NOT_ACCEPTED",
        ),
        ({"kind": "eval"}, "email=new@example.com&intent=login", "Is refused: USER_NOT_REGISTERED"),
        ({"kind": "webhook", "url": "https://a.example/"}, "email=new@example.com", "The web hook decides"),
    ],
)
async def test_imagined_person_meets_the_rule_in_force(
    served: Served, operator: Operator, rule: dict[str, Any], query: str, said: str
) -> None:
    await put(served, rule)
    before = await changes(served)
    page = await operator.get(f"{SIMULATE}&{query}")
    assert page.status == 200
    assert said in page.text
    assert await changes(served) == before
    assert "admit policy simulate notes --email new@example.com" in page.text


@pytest.mark.parametrize(
    "query", ["", "email=nobody", "email=a@example.com&intent=hide", "way_in=fax&email=a@b.example"]
)
async def test_nobody_is_imagined_where_nobody_can_be(served: Served, operator: Operator, query: str) -> None:
    page = await operator.get(f"{SIMULATE}&{query}")
    assert page.status == 400
    assert "Nobody was imagined" in page.text


async def test_claims_of_a_provider_are_imagined_too(served: Served, operator: Operator) -> None:
    await served.ask("POST", "/api/apps/notes/providers", headers=served.command(), json=GOOGLE)
    page = await operator.get(f"{SIMULATE}&way_in=google&email=ada@gmail.com&claims=%7B%22hd%22%3A%22x%22%7D")
    assert "Comes in as eval" in page.text
    wrong = await operator.get(f"{SIMULATE}&way_in=google&email=ada@gmail.com&claims=%7B%22hd%22%3A%7D")
    assert (wrong.status, "Line 1" in wrong.text) == (400, True)
