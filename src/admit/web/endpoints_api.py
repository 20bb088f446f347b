"""/api/apps/{app}/endpoints: where the operator wants to be told of events; and the keys that verify them."""

from functools import partial
from typing import Annotated

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict, replace
from starlette.responses import Response

from admit.accounts.apps import App
from admit.errors import Forbidden, InvalidRequest
from admit.events import log, type_names
from admit.events.log import Head
from admit.outbound.http import Reply
from admit.storage.transaction import Transaction
from admit.web.admin_types import Text
from admit.web.endpoint_types import (
    LEFT_OUT,
    Behind,
    EndpointPage,
    EndpointSecret,
    EndpointView,
    GotAnswer,
    NewEndpoint,
    NewSecret,
    NewState,
    NewTrial,
    SecretView,
    SentRequest,
    TrialView,
)
from admit.web.operations import Call
from admit.web.operator_access import SEES_SECRETS, admin, permitted_app, permitted_in_app
from admit.webhooks import (
    endpoint_settings,
    endpoint_states,
    endpoints,
    journey_signing,
    secrets,
    trials,
)
from admit.webhooks.change_delivery import TOKEN_HEADER
from admit.webhooks.endpoint_settings import SettingsChange
from admit.webhooks.endpoints import Endpoint
from admit.webhooks.secrets import Kind, Secret
from admit.webhooks.trials import Trial

SETTINGS_BYTES_MAX = 200_000
PAGE_MAX = 100
LED_AWAY = (
    "With every request to this address goes a secret, which another address would be told: moving it takes "
    "the scope secrets:read, or own headers that are set anew."
)


class EndpointsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which endpoints: those behind the id `after`."""

    after: Text = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_MAX


async def list_endpoints(call: Call) -> Response:
    """The endpoints, without their secrets."""
    app, query, gateway = await permitted_app(call), call.query(EndpointsQuery), call.gateway

    def find(tx: Transaction) -> tuple[list[Endpoint], Head | None]:
        # One more than was asked for says whether there is a next page.
        found = endpoints.page(tx, gateway.ring, app.app_id, after=query.after, limit=query.limit + 1)
        return found, log.head(tx, app.app_id)

    found, head = await gateway.db.read(find)
    shown, now = found[: query.limit], gateway.clock()
    return call.answer(
        EndpointPage(
            endpoints=[_view(each, head, now) for each in shown],
            after=shown[-1].endpoint_id if len(found) > len(shown) else None,
        )
    )


async def create_endpoint(call: Call) -> Response:
    """Makes an endpoint, which is told of events from now on, and shows its secret, this once."""
    app = await permitted_app(call)
    body, gateway, now = await call.json(NewEndpoint), call.gateway, call.gateway.clock()
    new = endpoint_settings.check(_change_of(body), gateway.egress)
    secret = _secret(body.secret, body.signature)
    if new.format == "journeyapps":
        await journey_signing.ensure_key(gateway.db, gateway.ring, app.app_id, now)
    make = partial(endpoints.create, ring=gateway.ring, app_id=app.app_id, new=new, secret=secret, now=now)
    endpoint_id = await gateway.db.write(make)
    return call.answer(await _with_secret(call, app, endpoint_id))


async def show_endpoint(call: Call) -> Response:
    """One endpoint."""
    app = await permitted_app(call)
    return call.answer(await _current(call, app, call.param("endpoint")))


async def change_endpoint(call: Call) -> Response:
    """Changes what the body names, and leaves the rest."""
    (app, operator), endpoint_id = await permitted_in_app(call), call.param("endpoint")
    body, gateway = await call.json(SettingsChange), call.gateway
    checked = endpoint_settings.check(body, gateway.egress)
    endpoint, _ = await _find(call, app, endpoint_id)
    if SEES_SECRETS not in operator.scopes and endpoint_settings.leads_secrets_away(
        endpoint.settings, checked, own_headers=bool(endpoint.headers)
    ):
        raise Forbidden(LED_AWAY)
    change = partial(
        endpoints.change,
        ring=gateway.ring,
        app_id=app.app_id,
        endpoint_id=endpoint_id,
        change=checked,
        now=gateway.clock(),
    )
    if not await gateway.db.write(change):
        raise endpoints.not_found(endpoint_id)
    return call.answer(await _current(call, app, endpoint_id))


async def remove_endpoint(call: Call) -> Response:
    """Removes an endpoint and ends its deliveries, a few at a time, so that others pass."""
    app, endpoint_id = await permitted_app(call), call.param("endpoint")
    db, now = call.gateway.db, call.gateway.clock()
    remove = partial(endpoint_states.remove, app_id=app.app_id, endpoint_id=endpoint_id, now=now)
    while (outcome := await db.write(remove, patient=True)) == "more":
        pass
    if outcome == "unknown":
        raise endpoints.not_found(endpoint_id)
    return call.done()


async def set_endpoint_state(call: Call) -> Response:
    """Pauses or enables an endpoint."""
    app, endpoint_id = await permitted_app(call), call.param("endpoint")
    body, gateway = await call.json(NewState), call.gateway
    become = endpoint_states.pause if body.state == "paused" else endpoint_states.resume
    unit = partial(become, app_id=app.app_id, endpoint_id=endpoint_id, now=gateway.clock())
    if not await gateway.db.write(unit):
        raise endpoints.not_found(endpoint_id)
    return call.answer(await _current(call, app, endpoint_id))


async def rotate_endpoint_secret(call: Call) -> Response:
    """Gives an endpoint a new secret and shows it, this once. The former one signs too for a while."""
    app, endpoint_id = await permitted_app(call), call.param("endpoint")
    body, gateway = await call.json(NewSecret), call.gateway
    present = (await _find(call, app, endpoint_id))[0].secrets[0]
    signature = body.signature or (present.kind if body.secret is None else None)
    rotate = partial(
        endpoints.rotate,
        ring=gateway.ring,
        app_id=app.app_id,
        endpoint_id=endpoint_id,
        secret=_secret(body.secret, signature),
        overlap_seconds=body.overlap_seconds,
        now=gateway.clock(),
    )
    if not await gateway.db.write(rotate):
        raise endpoints.not_found(endpoint_id)
    return call.answer(await _with_secret(call, app, endpoint_id))


async def try_endpoint(call: Call) -> Response:
    """Sends an example to an endpoint and tells what came back. Nothing is changed or noted."""
    (app, operator), endpoint_id = await permitted_in_app(call), call.param("endpoint")
    body, gateway = await call.json(NewTrial), call.gateway
    type_names.check(body.type)
    endpoint, _ = await _find(call, app, endpoint_id)
    trial = await trials.try_out(
        gateway.book, gateway.events_http, endpoint, app.name, body.type, gateway.clock, gateway.host
    )
    return call.answer(_trial_view(endpoint, trial, secrets_too=SEES_SECRETS in operator.scopes))


async def _find(call: Call, app: App, endpoint_id: str) -> tuple[Endpoint, Head | None]:
    def find(tx: Transaction) -> tuple[Endpoint | None, Head | None]:
        found = endpoints.find(tx, call.gateway.ring, app.app_id, endpoint_id)
        return found, log.head(tx, app.app_id)

    endpoint, head = await call.gateway.db.read(find)
    if endpoint is None:
        raise endpoints.not_found(endpoint_id)
    return endpoint, head


async def _current(call: Call, app: App, endpoint_id: str) -> EndpointView:
    return _view(*await _find(call, app, endpoint_id), call.gateway.clock())


async def _with_secret(call: Call, app: App, endpoint_id: str) -> EndpointSecret:
    endpoint, head = await _find(call, app, endpoint_id)
    present = endpoint.secrets[0]
    return EndpointSecret(
        **asdict(_view(endpoint, head, call.gateway.clock())),
        secret=present.text if present.kind == "hmac" else None,
        public_key=present.public_key,
    )


def _change_of(body: NewEndpoint) -> SettingsChange:
    return SettingsChange(**{name: getattr(body, name) for name in SettingsChange.__struct_fields__})


def _secret(own: str | None, signature: Kind | None) -> str:
    """The secret to sign with: the operator's own, or a new one."""
    if own is None:
        return secrets.new_secret(signature or "hmac")
    secret = secrets.parse_secret(own)
    if signature not in (None, secrets.kind_of(secret)):
        raise InvalidRequest(f"The secret does not sign with {signature}.", code="secret_refused")
    return secret


def _view(endpoint: Endpoint, head: Head | None, now: int) -> EndpointView:
    settings, told = endpoint.settings, endpoint.caught_up_to
    return EndpointView(
        id=endpoint.endpoint_id,
        url=settings.url,
        description=settings.description,
        events=settings.events,
        filter=replace(settings.filter, hook=UNSET),
        once=settings.once,
        format=settings.format,
        hook=settings.hook,
        headers=sorted(endpoint.headers),
        retry_delays=settings.retry_delays,
        at_once_max=settings.at_once_max,
        per_minute=settings.per_minute,
        state=endpoint.state,
        reason=endpoint.reason,
        failing_since=endpoint.failing_since,
        noticed_at=endpoint.noticed_at,
        behind=None
        if told is None
        else Behind(caught_up_to=str(told), head=str(head.position if head else told)),
        secrets=[_secret_view(each) for each in endpoint.secrets if each.signs_at(now)],
        created_at=endpoint.created_at,
        changed_at=endpoint.changed_at,
    )


def _secret_view(secret: Secret) -> SecretView:
    return SecretView(
        id=secret.secret_id,
        signature=secret.kind,
        public_key=secret.public_key,
        created_at=secret.created_at,
        ends_at=secret.ends_at,
    )


def _trial_view(endpoint: Endpoint, trial: Trial, *, secrets_too: bool) -> TrialView:
    answer = trial.answer
    # An operator's own headers often let somebody in, and so does the secret that a change hook is sent.
    hidden = set() if secrets_too else {*endpoint.headers, TOKEN_HEADER.lower()}
    headers = {name: LEFT_OUT if name.lower() in hidden else value for name, value in trial.headers.items()}
    return TrialView(
        delivered=trial.verdict.kind == "delivered",
        outcome=trial.verdict.outcome,
        message=trial.verdict.detail,
        request=SentRequest(url=endpoint.url, headers=headers, body=trial.body.decode()),
        address=answer.address,
        response=_got(answer) if isinstance(answer, Reply) else None,
        duration_ms=answer.elapsed_ms,
    )


def _got(answer: Reply) -> GotAnswer:
    return GotAnswer(
        status=answer.status,
        headers=dict(answer.headers),
        body=answer.body.decode(errors="replace"),
        truncated=answer.truncated,
    )


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/endpoints",
        list_endpoints,
        "Lists the endpoints",
        "webhooks:read",
        query=EndpointsQuery,
        answer=EndpointPage,
    ),
    admin(
        "POST",
        "/apps/{app}/endpoints",
        create_endpoint,
        "Makes an endpoint",
        "webhooks:write",
        shows_secret=True,
        body=NewEndpoint,
        body_bytes_max=SETTINGS_BYTES_MAX,
        answer=EndpointSecret,
        codes=(
            "url_refused",
            "event_type_unknown",
            "filter_refused",
            "headers_refused",
            "retry_delays_refused",
            "secret_refused",
            "hook_refused",
            "hook_unknown",
            "too_many_endpoints",
        ),
    ),
    admin(
        "GET",
        "/apps/{app}/endpoints/{endpoint}",
        show_endpoint,
        "Shows an endpoint",
        "webhooks:read",
        answer=EndpointView,
        codes=("endpoint_not_found",),
    ),
    admin(
        "PUT",
        "/apps/{app}/endpoints/{endpoint}",
        change_endpoint,
        "Changes an endpoint; what is left out stays",
        "webhooks:write",
        body=SettingsChange,
        body_bytes_max=SETTINGS_BYTES_MAX,
        answer=EndpointView,
        codes=(
            "endpoint_not_found",
            "url_refused",
            "event_type_unknown",
            "filter_refused",
            "headers_refused",
            "retry_delays_refused",
            "hook_refused",
            "hook_unknown",
        ),
    ),
    admin(
        "DELETE",
        "/apps/{app}/endpoints/{endpoint}",
        remove_endpoint,
        "Removes an endpoint",
        "webhooks:write",
        codes=("endpoint_not_found",),
    ),
    admin(
        "PUT",
        "/apps/{app}/endpoints/{endpoint}/state",
        set_endpoint_state,
        "Pauses or enables an endpoint",
        "webhooks:write",
        body=NewState,
        answer=EndpointView,
        codes=("endpoint_not_found",),
    ),
    admin(
        "POST",
        "/apps/{app}/endpoints/{endpoint}/secret",
        rotate_endpoint_secret,
        "Gives an endpoint a new secret",
        "webhooks:write",
        shows_secret=True,
        body=NewSecret,
        answer=EndpointSecret,
        codes=("endpoint_not_found", "secret_refused"),
    ),
    admin(
        "POST",
        "/apps/{app}/endpoints/{endpoint}/test",
        try_endpoint,
        "Sends an example to an endpoint",
        "webhooks:write",
        body=NewTrial,
        answer=TrialView,
        codes=("endpoint_not_found", "event_type_unknown"),
    ),
)
