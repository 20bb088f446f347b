"""/api/apps/{app}/providers: single sign-on, whom an app believes about people. Secrets are never told."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
from msgspec.structs import asdict
from starlette.responses import Response

from admit.accounts import provider_changes
from admit.accounts.apps import App
from admit.accounts.provider_changes import ProviderChange
from admit.accounts.provider_rules import NAME_CHARACTERS_MAX
from admit.accounts.providers import Person, Provider, ProviderType, ResponseMode
from admit.errors import AdmitError
from admit.gateway import Gateway
from admit.signin.providers.examination import Finding
from admit.storage.transaction import Transaction
from admit.web.oauth_api import callback_address
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app, permitted_in_app
from admit.web.operator_sso import require_owner


class NewProvider(ProviderChange, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A provider to add. What is left out is what its type presets."""

    name: Annotated[str, msgspec.Meta(max_length=NAME_CHARACTERS_MAX)]
    type: ProviderType


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    """A provider without its secret. `callback_url` is to be registered there, exactly like this.

    `has_secret` False: a public client.
    """

    name: str
    type: ProviderType
    display_name: str
    icon_url: str
    callback_url: str
    issuer: str
    client_id: str
    has_secret: bool
    team_id: str
    key_id: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    emails_endpoint: str
    scopes: Sequence[str]
    response_mode: ResponseMode
    person: Person
    trusted_domains: Sequence[str]
    tenants: Sequence[str]
    audiences: Sequence[str]
    claims: dict[str, str]


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What each step of an examination has shown; `ok`: people can sign in by the provider."""

    ok: bool
    findings: list[Finding]


async def list_providers(call: Call) -> Response:
    """The providers, in the order in which they were added."""
    app = await permitted_app(call)
    return call.answer([_view(call.gateway, app, each) for each in app.providers.values()])


async def add_provider(call: Call) -> Response:
    """Adds a provider."""
    app, token = await permitted_in_app(call)
    body, gateway, now = await call.json(NewProvider), call.gateway, call.gateway.clock()
    await require_owner(gateway, token, app, provider=body.name)
    provider = provider_changes.new_provider(body.name, body.type, body, gateway.egress)

    def add(tx: Transaction) -> AdmitError | None:
        return provider_changes.add(tx, gateway.ring, app.app_id, provider, now)

    if (fault := await gateway.db.write(add)) is not None:
        raise fault
    return await _current(call, app, provider.name)


async def show_provider(call: Call) -> Response:
    """One provider."""
    app = await permitted_app(call)
    return call.answer(_view(call.gateway, app, _named(call, app)))


async def change_provider(call: Call) -> Response:
    """Changes some of what is chosen for a provider."""
    app, token = await permitted_in_app(call)
    body, gateway, now = await call.json(ProviderChange), call.gateway, call.gateway.clock()
    before = _named(call, app)
    await require_owner(gateway, token, app, provider=before.name)
    provider_changes.changed(before, body, gateway.egress)

    def change(tx: Transaction) -> AdmitError | None:
        return provider_changes.change(tx, gateway.ring, app.app_id, before.name, body, gateway.egress, now)

    if (fault := await gateway.db.write(change)) is not None:
        raise fault
    return await _current(call, app, before.name)


async def remove_provider(call: Call) -> Response:
    """Removes a provider, with the policy of who comes by it."""
    app, token = await permitted_in_app(call)
    name, now = call.param("provider"), call.gateway.clock()
    await require_owner(call.gateway, token, app, provider=name)
    if not await call.gateway.db.write(
        partial(provider_changes.remove, app_id=app.app_id, name=name, now=now)
    ):
        raise provider_changes.not_found(name)
    return call.done()


async def examine_provider(call: Call) -> Response:
    """Asks the provider what can be asked without a person, and tells what is wrong."""
    app = await permitted_app(call)
    provider = _named(call, app)
    callback = callback_address(call.gateway, app, provider.name)
    findings = list(await call.gateway.providers.examine(provider, redirect_uri=callback))
    return call.answer(Examination(ok=all(each.ok for each in findings), findings=findings))


def _named(call: Call, app: App) -> Provider:
    name = call.param("provider")
    if (provider := app.providers.get(name)) is None:
        raise provider_changes.not_found(name)
    return provider


async def _current(call: Call, app: App, name: str) -> Response:
    current = await call.gateway.directory.app(app.name)
    if (provider := current.providers.get(name)) is None:
        raise provider_changes.not_found(name)
    return call.answer(_view(call.gateway, current, provider))


def _view(gateway: Gateway, app: App, provider: Provider) -> ProviderView:
    told = asdict(provider)
    secret = told.pop("client_secret")
    return ProviderView(
        **told | {"claims": dict(provider.claims)},
        has_secret=bool(secret),
        callback_url=callback_address(gateway, app, provider.name),
    )


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/providers",
        list_providers,
        "Lists the providers of single sign-on",
        "apps:read",
        answer=list[ProviderView],
    ),
    admin(
        "POST",
        "/apps/{app}/providers",
        add_provider,
        "Adds a provider",
        "apps:write",
        body=NewProvider,
        answer=ProviderView,
        codes=("url_refused", "provider_name_taken", "too_many_providers"),
    ),
    admin(
        "GET",
        "/apps/{app}/providers/{provider}",
        show_provider,
        "Shows a provider",
        "apps:read",
        answer=ProviderView,
        codes=("provider_not_found",),
    ),
    admin(
        "PUT",
        "/apps/{app}/providers/{provider}",
        change_provider,
        "Changes a provider; what is left out stays",
        "apps:write",
        body=ProviderChange,
        answer=ProviderView,
        codes=("provider_not_found", "url_refused"),
    ),
    admin(
        "DELETE",
        "/apps/{app}/providers/{provider}",
        remove_provider,
        "Removes a provider",
        "apps:write",
        codes=("provider_not_found",),
    ),
    admin(
        "POST",
        "/apps/{app}/providers/{provider}/test",
        examine_provider,
        "Examines a provider and tells what is wrong",
        "apps:write",
        answer=Examination,
        codes=("provider_not_found",),
    ),
)
