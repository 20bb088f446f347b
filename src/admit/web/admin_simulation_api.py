"""POST /api/apps/{app}/policy/simulation: what would happen to somebody at the door, and why."""

from collections.abc import Sequence
from typing import assert_never

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from admit.accounts import seats
from admit.accounts.app_settings import check_policy
from admit.accounts.apps import App
from admit.accounts.devices import NOT_SENT
from admit.accounts.providers import Provider
from admit.accounts.seats import Seats
from admit.accounts.users import User
from admit.enrollment import residents
from admit.enrollment.barred import barred_of, refusal_of
from admit.enrollment.decision_hook import request_of
from admit.enrollment.decision_task import decision_of
from admit.enrollment.policy import Admit, Applicant, AskHook, AskTask, Decision, Refuse, decide, within
from admit.errors import InvalidRequest
from admit.signin import sso
from admit.signin.proof import (
    CLIENT_ISSUER,
    EMAIL_ISSUER,
    PERSON_SCOPES,
    Proof,
    normalise_email,
    user_id_of_email,
)
from admit.signin.providers.claims_mapping import STANDARD, mapped
from admit.storage.transaction import Transaction
from admit.web.admin_types import Simulation, SimulationResult
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.web.ways_in import EMAIL_CODE, parse_way_in

SOMEBODY = "somebody-imagined"
"""The subject at a provider of who is given none: nobody that the app knows."""
OF_THE_RUN = ("kind", "admission_id")
"""What a task is told that has nothing to do with the person."""


async def simulate(call: Call) -> Response:
    """What would happen to somebody at the door. Asks nobody and changes nothing."""
    app = await permitted_app(call)
    body = await call.json(Simulation)
    proof = proof_of(app, body)

    def find(tx: Transaction) -> tuple[User | None, Sequence[Seats]]:
        (resident,) = residents.find(tx, [(app.app_id, proof)])
        left = seats.left_for(tx, [(app.app_id, proof.way_in)])
        return resident.user if resident else None, left.of(app.app_id, proof.way_in)

    user, left = await call.gateway.db.read(find)
    if user is not None and body.policy is None:
        return call.answer(_resident(user))
    if not proof.user_id:
        return call.answer(_nobody(proof))
    policy = app.policy_for(proof.way_in) if body.policy is None else check_policy(body.policy)
    applicant = Applicant(
        user_id=proof.user_id,
        email=proof.email,
        email_verified=proof.email_verified,
        intent=proof.intent,
    )
    decision = decide(policy, applicant)
    seated = within(left, decision) if isinstance(decision, Admit | Refuse) else decision
    return call.answer(_result(seated, proof, known=user is not None))


def proof_of(app: App, body: Simulation) -> Proof:
    """What whom to imagine would have proven. Raises InvalidRequest."""
    way_in = parse_way_in(app, body.way_in)
    email = normalise_email(body.email) if body.email else ""
    if (provider := app.providers.get(way_in)) is not None:
        return _proof_of_provider(app, provider, email, body)
    if body.claims or body.subject:
        raise InvalidRequest(f"A provider tells claims and a subject, and {way_in} is none.")
    user_id = body.user_id or (user_id_of_email(app, email) if email else "")
    if not user_id:
        raise InvalidRequest("Whom to imagine? Give an email or a user_id.")
    by_code = way_in == EMAIL_CODE
    return Proof(
        method="email_code" if by_code else "client_credentials",
        issuer=EMAIL_ISSUER if by_code else CLIENT_ISSUER,
        subject=email if by_code else user_id,
        user_id=user_id,
        email=email,
        email_verified=body.email_verified and bool(email),
        intent=body.intent,
    )


def _proof_of_provider(app: App, provider: Provider, email: str, body: Simulation) -> Proof:
    if body.user_id:
        raise InvalidRequest(
            f"What {provider.name} says of a person makes their userId. Give email, subject or claims."
        )
    # The email is given as such, wherever this provider tells it.
    plain = replace(
        provider, claims={ours: path for ours, path in provider.claims.items() if ours not in STANDARD}
    )
    told = {**body.claims, "email": email, "email_verified": body.email_verified}
    identity = mapped(plain, told, issuer=provider.issuer, subject=body.subject or SOMEBODY).identity
    return sso.proof_of(
        app,
        provider,
        identity,
        method="sso",
        scopes=PERSON_SCOPES,
        sign_in_code="",
        public_key=None,
        device=NOT_SENT,
        intent=body.intent,
    )


def _resident(user: User) -> SimulationResult:
    if (barred := barred_of(user)) is not None:
        refusal = refusal_of(barred)
        return SimulationResult(
            outcome="refuse",
            reason=f"The user is known and {barred.reason}.",
            known=True,
            user_id=user.user_id,
            code=refusal.code,
            message=refusal.message,
        )
    return SimulationResult(
        outcome="admit",
        reason="The user is known: the policy is for people who are not.",
        known=True,
        user_id=user.user_id,
    )


def _nobody(proof: Proof) -> SimulationResult:
    return SimulationResult(
        outcome="refuse",
        reason=f"Nobody has come by {proof.provider} under this subject, and the email leads to nobody: "
        "the provider must say that it is verified, and be trusted about its domain.",
        known=False,
        user_id="",
        code=proof.refusal.code,
        message=proof.refusal.message,
    )


def _result(decision: Decision, proof: Proof, *, known: bool) -> SimulationResult:
    match decision:
        case Admit():
            return SimulationResult(
                outcome="admit",
                reason=decision.reason,
                known=known,
                user_id=proof.user_id,
                type=decision.type,
            )
        case Refuse():
            return SimulationResult(
                outcome="refuse",
                reason=decision.reason,
                known=known,
                user_id=proof.user_id,
                code=decision.code,
                message=decision.message,
            )
        case AskHook():
            return SimulationResult(
                outcome="ask",
                reason="The policy asks the web hook, whose answer decides.",
                known=known,
                user_id=proof.user_id,
                url=decision.url,
                timeout_seconds=decision.timeout_seconds,
                on_failure=decision.on_failure,
                payload=decision.payload,
                told=msgspec.to_builtins(request_of(proof, decision.payload)),
            )
        case AskTask():
            told = msgspec.to_builtins(decision_of(proof, ""))
            return SimulationResult(
                outcome="ask",
                reason="The policy asks the task, whose answer decides.",
                known=known,
                user_id=proof.user_id,
                task=decision.task,
                timeout_seconds=decision.timeout_seconds,
                on_failure=decision.on_failure,
                told={member: value for member, value in told.items() if member not in OF_THE_RUN},
            )
        case _:
            assert_never(decision)


OPERATIONS = (
    admin(
        "POST",
        "/apps/{app}/policy/simulation",
        simulate,
        "Tells what would happen to somebody",
        "apps:read",
        body=Simulation,
        answer=SimulationResult,
    ),
)
