"""Adding, changing and removing a provider of single sign-on."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from admit.accounts import app_providers, policies
from admit.accounts.apps import mark_changed
from admit.accounts.provider_presets import preset
from admit.accounts.provider_rules import check_provider, fault_among, fault_of_issuer
from admit.accounts.providers import Person, Provider, ProviderType, ResponseMode
from admit.errors import AdmitError, InvalidRequest, NotFound
from admit.outbound.addresses import EgressPolicy
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

TOLD_THE_SECRET: Final = ("issuer", "token_endpoint")
"""What says where the client secret goes: the endpoint, or the document below the issuer that names it."""
TELLING_OF_PEOPLE: Final = ("issuer", "token_endpoint", "userinfo_endpoint", "emails_endpoint")
"""What says where people are told of. Whom a preset trusts, it trusts there."""


class ProviderChange(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What is to be chosen for a provider. What is left out stays as it is; null is what the type presets.

    `client_secret` "" makes it a public client; it is given again where it would go elsewhere. `claims` are
    put beside those that the type presets. Whom the type trusts is nobody where people are told of elsewhere.
    """

    display_name: str | UnsetType | None = UNSET
    icon_url: str | UnsetType | None = UNSET
    issuer: str | UnsetType | None = UNSET
    client_id: str | UnsetType = UNSET
    client_secret: str | UnsetType = UNSET
    team_id: str | UnsetType | None = UNSET
    key_id: str | UnsetType | None = UNSET
    authorization_endpoint: str | UnsetType | None = UNSET
    token_endpoint: str | UnsetType | None = UNSET
    userinfo_endpoint: str | UnsetType | None = UNSET
    emails_endpoint: str | UnsetType | None = UNSET
    scopes: tuple[str, ...] | UnsetType | None = UNSET
    response_mode: ResponseMode | UnsetType | None = UNSET
    person: Person | UnsetType | None = UNSET
    trusted_domains: tuple[str, ...] | UnsetType | None = UNSET
    tenants: tuple[str, ...] | UnsetType | None = UNSET
    audiences: tuple[str, ...] | UnsetType | None = UNSET
    claims: dict[str, str] | UnsetType | None = UNSET

    def __repr__(self) -> str:
        """Without the secret: bodies end up in tracebacks."""
        return f"{type(self).__name__}(…)"


def new_provider(name: str, type: ProviderType, given: ProviderChange, egress: EgressPolicy) -> Provider:
    """The provider `name`: what is given, and for the rest what its type presets.

    Raises InvalidRequest as `check_provider` does.
    """
    return _after(replace(_plain(name, type), **preset(type)), given, egress)


def changed(provider: Provider, change: ProviderChange, egress: EgressPolicy) -> Provider:
    """`provider` after `change`. Raises InvalidRequest as `check_provider` does, and where the secret that is
    kept would go elsewhere: who may change a provider need not know it.
    """
    after = _after(provider, change, egress)
    if provider.client_secret and change.client_secret is UNSET and _moved(provider, after, TOLD_THE_SECRET):
        raise InvalidRequest(
            "With another issuer or token_endpoint the client_secret goes elsewhere, so give it, too. Empty "
            "makes it a public client."
        )
    if provider.claims.get("sub") != after.claims.get("sub"):
        raise InvalidRequest(
            f"The claim sub must stay {provider.claims.get('sub', 'unset')}: found elsewhere, it would mean "
            "others than those who are known. Add another provider, with another issuer."
        )
    return after


def _after(provider: Provider, change: ProviderChange, egress: EgressPolicy) -> Provider:
    """Without an issuer, what a provider without ID tokens tells is kept under where it tells it."""
    presets = preset(provider.type)
    fields: dict[str, Any] = {}
    for field in ProviderChange.__struct_fields__:
        if (value := getattr(change, field)) is None:
            value = presets.get(field, getattr(_plain(provider.name, provider.type), field))
        if value is not UNSET:
            fields[field] = value
    if "claims" in fields:
        fields["claims"] = {**presets.get("claims", {}), **fields["claims"]}
    after = replace(provider, **fields)
    if not after.issuer and not after.speaks_oidc:
        after = replace(after, issuer=after.userinfo_endpoint.partition("?")[0])
    after = replace(after, trusted_domains=_trusted_domains(provider, change, after))
    return check_provider(after, egress)


def _trusted_domains(before: Provider, change: ProviderChange, after: Provider) -> tuple[str, ...]:
    """What `after` is believed about. Whom its type presets is trusted where that type tells of people, and
    nowhere else unless `change` says so.
    """
    presets = preset(after.type)
    at_home = replace(_plain(after.name, after.type), **presets)
    told_elsewhere = _moved(at_home, after, TELLING_OF_PEOPLE)
    chosen = isinstance(change.trusted_domains, tuple)
    stays = change.trusted_domains is UNSET and not _moved(before, after, TELLING_OF_PEOPLE)
    if chosen or stays or not told_elsewhere:
        return after.trusted_domains
    believed = presets.get("trusted_domains", ())
    return tuple(each for each in after.trusted_domains if each not in believed)


def _moved(before: Provider, after: Provider, places: Iterable[str]) -> bool:
    return any(getattr(before, place) != getattr(after, place) for place in places)


def add(tx: Transaction, ring: KeyRing, app_id: str, provider: Provider, now: int) -> AdmitError | None:
    """Adds a provider that has been checked, or says why it cannot be. Raises NotFound without the app."""
    mark_changed(tx, app_id, now)
    present = app_providers.providers_in(tx, ring, app_id)
    fault = fault_among(provider, present.values())
    if fault is None:
        app_providers.put(tx, ring, app_id, provider, now)
    return fault


def change(
    tx: Transaction,
    ring: KeyRing,
    app_id: str,
    name: str,
    wanted: ProviderChange,
    egress: EgressPolicy,
    now: int,
) -> AdmitError | None:
    """Changes a provider, or says why it cannot be. Raises NotFound without the app.

    Raises InvalidRequest as `changed` does: doors ask that first, of what the provider is to them.
    """
    mark_changed(tx, app_id, now)
    present = dict(app_providers.providers_in(tx, ring, app_id))
    before = present.pop(name, None)
    if before is None:
        return not_found(name)
    after = changed(before, wanted, egress)
    fault = fault_of_issuer(after, present.values())
    if fault is None:
        app_providers.put(tx, ring, app_id, after, now)
    return fault


def remove(tx: Transaction, app_id: str, name: str, now: int) -> bool:
    """Forgets a provider and the policy of who comes by it. False: there is none. Raises NotFound.

    People who came by it stay, and are known again where a provider of the same issuer is added.
    """
    policies.set_policy_for(tx, app_id, name, None, now)
    return app_providers.remove(tx, app_id, name)


def not_found(name: str) -> NotFound:
    """There is no provider of this name in the app."""
    return NotFound(f"There is no provider {name[:80]!r} in this app.", code="provider_not_found")


def _plain(name: str, type: ProviderType) -> Provider:
    return Provider(name=name, type=type, display_name="", issuer="", client_id="")
