"""The rule for unknown people, value by value."""

from typing import Literal

import pytest

from admit.accounts.apps import PolicySetting
from admit.enrollment.policy import Admit, Applicant, Ask, Refuse, decide
from admit.errors import USER_NOT_ACCEPTED, USER_NOT_REGISTERED
from admit.signin.proof import Intent

EVERY_KIND = [
    PolicySetting(kind="eval"),
    PolicySetting(kind="prod"),
    PolicySetting(kind="domains", domains=("example.com",)),
    PolicySetting(kind="webhook", url="https://hooks.example.com/"),
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
    assert decide(policy, applicant()) == Ask(
        url="https://hooks.example.com/", timeout_seconds=2, on_failure="eval"
    )
