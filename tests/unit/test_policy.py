"""The rule for unknown people, value by value."""

from typing import Literal

import pytest
from msgspec.structs import replace

from admit.accounts.apps import PolicySetting
from admit.accounts.seats import Seats, WhenFull
from admit.enrollment.policy import (
    NO_SEATS,
    NO_SEATS_THIS_WAY,
    NOBODY_DECIDED,
    Admit,
    Applicant,
    AskHook,
    AskTask,
    Fault,
    Refuse,
    Verdict,
    decide,
    within,
    without_answer,
)
from admit.errors import NO_SEATS_AVAILABLE, USER_NOT_ACCEPTED, USER_NOT_REGISTERED, WEBHOOK_ERROR
from admit.signin.proof import Intent

EVERY_KIND = [
    PolicySetting(kind="eval"),
    PolicySetting(kind="prod"),
    PolicySetting(kind="domains", domains=("example.com",)),
    PolicySetting(kind="webhook", url="https://hooks.example.com/"),
    PolicySetting(kind="task", task="decide"),
    PolicySetting(kind="reject"),
]


def applicant(email: str = "ada@example.com", *, verified: bool = True, intent: Intent = "") -> Applicant:
    return Applicant(user_id=email, email=email, email_verified=verified, intent=intent)


@pytest.mark.parametrize("kind", ["eval", "prod"])
def test_everyone_is_admitted_with_the_type_that_the_policy_names(kind: Literal["eval", "prod"]) -> None:
    assert decide(PolicySetting(kind=kind), applicant()) == Admit(
        type=kind, reason=f"The policy admits everyone as {kind}."
    )


@pytest.mark.parametrize("policy", EVERY_KIND, ids=lambda policy: policy.kind)
def test_intent_login_never_lets_a_stranger_in_nor_asks_anybody(policy: PolicySetting) -> None:
    decision = decide(policy, applicant(intent="login"))
    assert isinstance(decision, Refuse)
    assert decision.code == USER_NOT_REGISTERED


def test_reject_says_not_registered_and_to_who_wants_to_register_not_accepted() -> None:
    policy = PolicySetting(kind="reject")
    codes = {"": USER_NOT_REGISTERED, "register": USER_NOT_ACCEPTED}
    intents: tuple[Intent, ...] = ("", "register")
    for intent in intents:
        decision = decide(policy, applicant(intent=intent))
        assert isinstance(decision, Refuse)
        assert decision.code == codes[intent]


@pytest.mark.parametrize(
    "email",
    [
        "eve@example.com.attacker.io",
        "eve@notexample.com",
        "eve@sub.example.com",
        "example.com@attacker.io",
        "eve@example.co",
        "",
    ],
)
def test_a_domain_is_compared_whole(email: str) -> None:
    decision = decide(PolicySetting(kind="domains", domains=("example.com",)), applicant(email))
    assert isinstance(decision, Refuse)
    assert decision.code == USER_NOT_ACCEPTED


def test_a_listed_domain_is_admitted_as_prod_once_the_email_is_verified() -> None:
    policy = PolicySetting(kind="domains", domains=("example.org", "example.com"))
    decision = decide(policy, applicant())
    assert isinstance(decision, Admit)
    assert decision.type == "prod"
    assert isinstance(decide(policy, applicant(verified=False)), Refuse)


def test_a_web_hook_is_asked_by_its_own_rules() -> None:
    policy = PolicySetting(
        kind="webhook", url="https://hooks.example.com/", timeout_seconds=2, on_failure="eval"
    )
    assert decide(policy, applicant()) == AskHook(
        url="https://hooks.example.com/", timeout_seconds=2, on_failure="eval"
    )


def test_a_task_is_asked_by_its_own_rules() -> None:
    policy = PolicySetting(kind="task", task="decide", timeout_seconds=2, on_failure="eval")
    assert decide(policy, applicant()) == AskTask(task="decide", timeout_seconds=2, on_failure="eval")


HOOK = AskHook(url="https://hooks.example.com/", timeout_seconds=2, on_failure="refuse")
TASK = AskTask(task="decide", timeout_seconds=2, on_failure="refuse")


@pytest.mark.parametrize("ask", [HOOK, TASK], ids=["hook", "task"])
def test_who_cannot_be_asked_lets_nobody_in_unless_the_app_wants_it(ask: AskHook | AskTask) -> None:
    fault = Fault("It did not answer.")
    refusal = without_answer(ask, fault)
    assert isinstance(refusal, Refuse)
    assert (refusal.code, refusal.message, refusal.reason) == (WEBHOOK_ERROR, NOBODY_DECIDED, fault.reason)
    admission = without_answer(replace(ask, on_failure="eval"), fault)
    assert isinstance(admission, Admit)
    assert admission.type == "eval"
    assert fault.reason in admission.reason


# Seats

IN = Admit(type="prod", reason="The policy admits everyone as prod.")


def full(way_in: str = "", when_full: WhenFull = "refuse") -> Seats:
    return Seats(way_in=way_in, taken=5, limit=5, when_full=when_full)


def test_who_takes_no_seat_needs_none() -> None:
    for verdict in (Admit(type="eval", reason=""), Refuse(code="X", message="", reason="")):
        assert within((full(), full("google")), verdict) is verdict
    assert within((Seats(taken=4, limit=5), Seats(way_in="google")), IN) is IN


@pytest.mark.parametrize(
    ("left", "message", "reason"),
    [
        ((full(), Seats(way_in="google")), NO_SEATS, "All 5 seats of the app are taken."),
        ((Seats(), full("google")), NO_SEATS_THIS_WAY, "All 5 seats for google are taken."),
        (
            (full(), full("google", "eval")),
            NO_SEATS,
            "All 5 seats of the app are taken. All 5 seats for google are taken.",
        ),
        (
            (full("", "eval"), full("google")),
            NO_SEATS,
            "All 5 seats of the app are taken. All 5 seats for google are taken.",
        ),
    ],
    ids=["app", "way", "both, the app refuses", "both, the way refuses"],
)
def test_a_refusal_tells_whose_seats_are_taken(left: tuple[Seats, Seats], message: str, reason: str) -> None:
    expected: Verdict = Refuse(code=NO_SEATS_AVAILABLE, message=message, reason=f"{IN.reason} {reason}")
    assert within(left, IN) == expected


def test_where_all_that_are_full_say_so_the_newcomer_comes_in_on_trial() -> None:
    for left in ((Seats(), full("google", "eval")), (full("", "eval"), full("google", "eval"))):
        verdict = within(left, IN)
        assert isinstance(verdict, Admit)
        assert verdict.type == "eval"
        assert verdict.reason.endswith("Admitted as eval.")
