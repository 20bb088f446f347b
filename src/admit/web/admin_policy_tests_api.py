"""POST /api/apps/{app}/policy/test: who decides is asked about somebody imagined, and what it would mean."""

from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography import x509
from starlette.responses import Response

from admit.accounts import seats
from admit.accounts.app_settings import PolicySetting, check_policy
from admit.accounts.seats import Seats
from admit.enrollment.asking import ATTEMPTS_MAX
from admit.enrollment.decision_hook import Exchange
from admit.enrollment.policy import (
    Admit,
    Applicant,
    Ask,
    AskHook,
    Fault,
    Refuse,
    Verdict,
    decide,
    within,
    without_answer,
)
from admit.enrollment.trials import HookTrial, TaskTrial, Trial
from admit.errors import InvalidRequest
from admit.outbound.http import Reply, Tls
from admit.signin.proof import Proof
from admit.web.admin_policy_api import check_reachable
from admit.web.admin_simulation_api import OF_THE_RUN, proof_of
from admit.web.endpoint_types import GotAnswer, SentRequest
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.web.policy_test_types import (
    NewPolicyTest,
    PolicyTestResult,
    SealedBy,
    TaskTest,
    TestAttempt,
    TestLine,
)

SHOWN_BYTES_MAX = 16_000


async def try_policy(call: Call) -> Response:
    """Asks who decides about somebody imagined. Nobody is enrolled, and nothing is kept."""
    app = await permitted_app(call)
    body = await call.json(NewPolicyTest)
    proof = proof_of(app, body)
    if not proof.user_id:
        raise InvalidRequest("Their email leads to nobody, so nobody would be asked about them.")
    policy = app.policy_for(proof.way_in) if body.policy is None else check_policy(body.policy)
    if body.policy is not None:
        check_reachable(call.gateway, app, policy)
    ask = _ask(policy, proof)
    left = await call.gateway.db.read(lambda tx: seats.left_for(tx, [(app.app_id, proof.way_in)]))
    trial = await call.gateway.door.try_out(app, proof, ask)
    return call.answer(_result(ask, proof, trial, left.of(app.app_id, proof.way_in)))


def _ask(policy: PolicySetting, proof: Proof) -> Ask:
    """Whom `policy` asks about them. Raises InvalidRequest where it decides by itself."""
    applicant = Applicant(
        user_id=proof.user_id, email=proof.email, email_verified=proof.email_verified, intent=proof.intent
    )
    decision = decide(policy, applicant)
    if not isinstance(decision, Ask):
        raise InvalidRequest(
            f"Nobody would be asked about them: {decision.reason} A simulation says what would happen."
        )
    return decision


def _result(ask: Ask, proof: Proof, trial: Trial, left: Sequence[Seats]) -> PolicyTestResult:
    outcome = trial.answer.outcome
    verdict = within(left, without_answer(ask, outcome) if isinstance(outcome, Fault) else outcome)
    admitted = verdict if isinstance(verdict, Admit) else None
    return PolicyTestResult(
        **_told_of(verdict),
        fault=outcome.reason if isinstance(outcome, Fault) else None,
        on_failure=ask.on_failure,
        user_id=proof.user_id,
        data=admitted.data if admitted else None,
        name=admitted.name if admitted else "",
        attempts_made=trial.answer.attempts,
        attempts_max=ATTEMPTS_MAX,
        duration_ms=trial.answer.latency_ms,
        timeout_seconds=ask.timeout_seconds,
        attempts=[_attempt(trial, each) for each in trial.exchanges] if isinstance(trial, HookTrial) else [],
        task=None if isinstance(ask, AskHook) else _task(ask.task, trial),
    )


def _told_of(verdict: Verdict) -> dict[str, Any]:
    """The members that say how it ends."""
    match verdict:
        case Admit(type=type_, reason=reason):
            return {"outcome": "admit", "type": type_, "code": None, "message": None, "reason": reason}
        case Refuse(code=code, message=message, reason=reason):
            return {"outcome": "refuse", "type": None, "code": code, "message": message, "reason": reason}


def _attempt(trial: HookTrial, exchange: Exchange) -> TestAttempt:
    answer = exchange.answer
    got = answer if isinstance(answer, Reply) else None
    return TestAttempt(
        request=SentRequest(url=trial.url, headers=exchange.headers, body=trial.body.decode()),
        address=answer.address,
        tls=_sealed(got.tls) if got and got.tls else None,
        response=_got(got) if got else None,
        message="" if isinstance(answer, Reply) else answer.detail,
        duration_ms=answer.elapsed_ms,
    )


def _sealed(tls: Tls) -> SealedBy:
    until = x509.load_der_x509_certificate(tls.certificate).not_valid_after_utc
    return SealedBy(version=tls.version, certificate_until=round(until.timestamp() * 1_000))


def _got(answer: Reply) -> GotAnswer:
    return GotAnswer(
        status=answer.status,
        headers=dict(answer.headers),
        body=answer.body[:SHOWN_BYTES_MAX].decode(errors="replace"),
        truncated=answer.truncated or len(answer.body) > SHOWN_BYTES_MAX,
    )


def _task(name: str, trial: Trial) -> TaskTest:
    assert isinstance(trial, TaskTrial)
    told = msgspec.to_builtins(trial.told)
    return TaskTest(
        task=name,
        told={member: value for member, value in told.items() if member not in OF_THE_RUN},
        result=msgspec.json.decode(trial.result) if trial.result else None,
        lines=[TestLine(at=each.said_at, level=each.level, text=each.line) for each in trial.lines],
        blocked=list(trial.blocked),
    )


OPERATIONS = (
    admin(
        "POST",
        "/apps/{app}/policy/test",
        try_policy,
        "Asks who decides about somebody imagined, and shows the answer",
        "apps:write",
        body=NewPolicyTest,
        answer=PolicyTestResult,
        codes=("no_tasks",),
    ),
)
