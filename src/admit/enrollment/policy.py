"""The rule for people unknown to the app. Pure: values in, a decision out.

The Manager, the commands and the door all call `decide`, so what a simulation says is what happens.
"""

from collections.abc import Sequence
from typing import Any, Literal, assert_never

import msgspec
from msgspec.structs import replace

from admit.accounts.app_settings import Payload, PolicySetting
from admit.accounts.seats import WHOLE_APP, Seats
from admit.errors import NO_SEATS_AVAILABLE, USER_NOT_ACCEPTED, USER_NOT_REGISTERED, WEBHOOK_ERROR

OnFailure = Literal["refuse", "eval"]


class Applicant(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy may know of the unknown person. `email` is "" when unknown."""

    user_id: str
    email: str
    email_verified: bool
    intent: Literal["", "login", "register"] = ""


class Admit(msgspec.Struct, frozen=True, kw_only=True, tag="admit", tag_field="decision"):
    """Come in. `data` is the operator's JSON object, kept as it is; `name` and `email` are for display."""

    type: Literal["eval", "prod"]
    reason: str
    data: dict[str, Any] | None = None
    name: str = ""
    email: str = ""


class Refuse(msgspec.Struct, frozen=True, kw_only=True, tag="refuse", tag_field="decision"):
    """Stay out. `code` and `message` reach the person, `reason` only the operator."""

    code: str
    message: str
    reason: str


class Fault(msgspec.Struct, frozen=True):
    """Who was asked gave no answer that can be trusted; `reason` tells the operator what is wrong with it."""

    reason: str


class AskHook(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's endpoint decides, within `timeout_seconds` for all attempts together."""

    url: str
    timeout_seconds: float
    on_failure: OnFailure
    payload: Payload = "contract"


class AskTask(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's task of that name decides, within `timeout_seconds` for all attempts together."""

    task: str
    timeout_seconds: float
    on_failure: OnFailure


Verdict = Admit | Refuse
Ask = AskHook | AskTask
Decision = Verdict | Ask

NOT_REGISTERED = "There is no account for this address here."
NOT_ACCEPTED = "This address was not accepted. Ask the people who run this app for access."

NOBODY_DECIDED = "The app could not decide about new people just now. Try again later."

NO_SEATS = "Every seat of this app is taken. Ask the people who run it for one."
NO_SEATS_THIS_WAY = (
    "Every seat for people who sign in this way is taken. Ask the people who run this app for one."
)


def decide(policy: PolicySetting, applicant: Applicant) -> Decision:
    """What to do with `applicant`, whom the app does not know."""
    if applicant.intent == "login":
        return Refuse(
            code=USER_NOT_REGISTERED,
            message=NOT_REGISTERED,
            reason="The client asked to log in, not to register.",
        )
    match policy.kind:
        case "eval" | "prod":
            return Admit(type=policy.kind, reason=f"The policy admits everyone as {policy.kind}.")
        case "domains":
            return _by_domain(policy, applicant)
        case "webhook":
            return AskHook(
                url=policy.url,
                timeout_seconds=policy.timeout_seconds,
                on_failure=policy.on_failure,
                payload=policy.payload,
            )
        case "task":
            return AskTask(
                task=policy.task, timeout_seconds=policy.timeout_seconds, on_failure=policy.on_failure
            )
        case "reject":
            return _turned_away(applicant)
        case _:
            assert_never(policy.kind)


def without_answer(ask: Ask, fault: Fault) -> Verdict:
    """What the app wants where nobody whom it asks has an answer."""
    if ask.on_failure == "eval":
        who = "hook" if isinstance(ask, AskHook) else "task"
        return Admit(type="eval", reason=f"Admitted as eval because the {who} failed: {fault.reason}")
    return Refuse(code=WEBHOOK_ERROR, message=NOBODY_DECIDED, reason=fault.reason)


def within(left: Sequence[Seats], verdict: Verdict) -> Verdict:
    """`verdict`, or what the app wants in its place where it takes a seat of each and one has none left.

    Where both have none, the stricter of their wishes counts.
    """
    full = [seats for seats in left if not seats.have_room_for(1)]
    if not isinstance(verdict, Admit) or verdict.type != "prod" or not full:
        return verdict
    reason = " ".join([verdict.reason, *(seats.all_taken for seats in full)])
    if all(seats.when_full == "eval" for seats in full):
        return replace(verdict, type="eval", reason=f"{reason} Admitted as eval.")
    in_app = any(seats.way_in == WHOLE_APP for seats in full)
    message = NO_SEATS if in_app else NO_SEATS_THIS_WAY
    return Refuse(code=NO_SEATS_AVAILABLE, message=message, reason=reason)


def _by_domain(policy: PolicySetting, applicant: Applicant) -> Verdict:
    domain = applicant.email.rpartition("@")[2]
    if not applicant.email_verified:
        reason = "The email is not verified, so its domain says nothing."
    elif domain in policy.domains:
        return Admit(type="prod", reason=f"The policy lists {domain}.")
    else:
        reason = f"The policy does not list {domain or 'an empty domain'}."
    return Refuse(code=USER_NOT_ACCEPTED, message=NOT_ACCEPTED, reason=reason)


def _turned_away(applicant: Applicant) -> Refuse:
    reason = "The policy rejects everyone unknown."
    if applicant.intent == "register":
        return Refuse(code=USER_NOT_ACCEPTED, message=NOT_ACCEPTED, reason=reason)
    return Refuse(code=USER_NOT_REGISTERED, message=NOT_REGISTERED, reason=reason)
