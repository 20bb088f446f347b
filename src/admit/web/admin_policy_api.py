"""/api/apps/{app}/policy: the rule for unknown people, tried out and put in force."""

from typing import assert_never

import msgspec
from starlette.responses import Response

from admit.accounts import apps, seats, users
from admit.accounts.app_settings import check_policy
from admit.accounts.apps import App
from admit.accounts.seats import Seats
from admit.accounts.users import User
from admit.enrollment.policy import Admit, Applicant, Ask, Decision, Refuse, decide, within
from admit.errors import USER_DEACTIVATED, InvalidRequest
from admit.signin.proof import normalise_email, user_id_of_email
from admit.storage.transaction import Transaction
from admit.web.admin_types import NewPolicy, PolicyView, Simulation, SimulationResult
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app


class PolicyQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether to tell the secret that signs the calls of a web hook; that takes the scope apps:write."""

    secret: bool = False


async def show_policy(call: Call) -> Response:
    """The rule in force."""
    query = call.query(PolicyQuery)
    app = await permitted_app(call, "apps:write" if query.secret else "apps:read")
    return call.answer(_view(app, app.hook_secret if query.secret else None))


async def set_policy(call: Call) -> Response:
    """Puts a rule in force; it holds from the next sign-in."""
    app = await permitted_app(call)
    setting, now = check_policy(await call.json(NewPolicy)), call.gateway.clock()
    if setting.kind == "webhook" and (refusal := call.gateway.egress.url_refusal(setting.url)):
        raise InvalidRequest(refusal)
    await call.gateway.db.write(lambda tx: apps.set_policy(tx, app.app_id, setting, now))
    return call.answer(_view(await call.gateway.directory.app(app.name)))


async def rotate_hook_secret(call: Call) -> Response:
    """Makes a new secret for the calls of a web hook. For a day they are signed with the former one too."""
    app = await permitted_app(call)
    gateway, now = call.gateway, call.gateway.clock()
    secret = await gateway.db.write(lambda tx: apps.rotate_hook_secret(tx, gateway.ring, app.app_id, now))
    return call.answer(_view(await gateway.directory.app(app.name), secret))


async def simulate(call: Call) -> Response:
    """What would happen to somebody at the door. Asks nobody and changes nothing."""
    app = await permitted_app(call)
    body = await call.json(Simulation)
    email = normalise_email(body.email) if body.email else ""
    user_id = body.user_id or (user_id_of_email(app, email) if email else "")
    if not user_id:
        raise InvalidRequest("Whom to imagine? Give an email or a user_id.")
    key = (app.app_id, user_id)

    def find(tx: Transaction) -> tuple[User | None, Seats]:
        return users.by_user_id(tx, [key]).get(key), seats.of_app(tx, app.app_id)

    user, left = await call.gateway.db.read(find)
    if user is not None and body.policy is None:
        return call.answer(_resident(user))
    policy = app.policy if body.policy is None else check_policy(body.policy)
    applicant = Applicant(
        user_id=user_id, email=email, email_verified=body.email_verified and bool(email), intent=body.intent
    )
    decision = decide(policy, applicant)
    seated = decision if isinstance(decision, Ask) else within(left, decision)
    return call.answer(_result(seated, user_id, known=user is not None))


def _view(app: App, secret: str | None = None) -> PolicyView:
    return PolicyView(policy=app.policy, version=app.policy_version, hook_secret=secret)


def _resident(user: User) -> SimulationResult:
    if user.deactivated_at is not None:
        return SimulationResult(
            outcome="refuse",
            reason="The user is known and deactivated.",
            known=True,
            user_id=user.user_id,
            code=USER_DEACTIVATED,
        )
    return SimulationResult(
        outcome="admit",
        reason="The user is known: the policy is for people who are not.",
        known=True,
        user_id=user.user_id,
    )


def _result(decision: Decision, user_id: str, *, known: bool) -> SimulationResult:
    match decision:
        case Admit():
            return SimulationResult(
                outcome="admit", reason=decision.reason, known=known, user_id=user_id, type=decision.type
            )
        case Refuse():
            return SimulationResult(
                outcome="refuse",
                reason=decision.reason,
                known=known,
                user_id=user_id,
                code=decision.code,
                message=decision.message,
            )
        case Ask():
            return SimulationResult(
                outcome="ask",
                reason="The policy asks the web hook, whose answer decides.",
                known=known,
                user_id=user_id,
                url=decision.url,
                timeout_seconds=decision.timeout_seconds,
                on_failure=decision.on_failure,
            )
        case _:
            assert_never(decision)


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/policy",
        show_policy,
        "Shows the rule for unknown people",
        "apps:read",
        query=PolicyQuery,
        answer=PolicyView,
    ),
    admin(
        "PUT",
        "/apps/{app}/policy",
        set_policy,
        "Puts a rule in force",
        "apps:write",
        body=NewPolicy,
        answer=PolicyView,
    ),
    admin(
        "POST",
        "/apps/{app}/policy/secret",
        rotate_hook_secret,
        "Makes a new secret for the calls of a web hook",
        "apps:write",
        answer=PolicyView,
    ),
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
