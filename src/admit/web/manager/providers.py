"""/apps/APP/sign-in/providers: single sign-on: the list, adding one, its settings, and an examination."""

from typing import Any

import msgspec
from starlette.responses import Response

from admit.accounts.provider_rules import TYPES_OF
from admit.accounts.providers import Provider, ProviderType
from admit.errors import AdmitError, Conflict, InvalidRequest
from admit.web.admin_providers_api import Examination, NewProvider, ProviderView
from admit.web.admin_types import AppView
from admit.web.manager import provider_forms, seen
from admit.web.manager.pages import Page, page
from admit.web.manager.provider_forms import TYPES
from admit.web.manager.ways_in import tabs, trusted_about, warning_about

TAB = "Providers"
LIST = "providers.html"
FORM = "provider.html"


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A type of provider on the page: its name, for whom it is, and where one becomes a client of it."""

    name: str
    note: str
    console: str = ""
    steps: str
    secret_needed: bool = False


KINDS: dict[ProviderType, Kind] = {
    "google": Kind(
        name="Google",
        note="Gmail and Google Workspace.",
        console="https://console.cloud.google.com/auth/clients",
        steps="Create an OAuth client of the type “Web application” and add the redirect address.",
        secret_needed=True,
    ),
    "microsoft": Kind(
        name="Microsoft",
        note="Entra ID of one or several organizations, and personal accounts.",
        console="https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationsListBlade",
        steps="Register an application, add the redirect address for the platform “Web”, and the optional "
        "claim xms_edov to ID tokens.",
    ),
    "github": Kind(
        name="GitHub",
        note="People with a GitHub account.",
        console="https://github.com/settings/developers",
        steps="Create an OAuth app with the redirect address as its authorization callback URL.",
        secret_needed=True,
    ),
    "apple": Kind(
        name="Apple",
        note="Sign in with Apple.",
        console="https://developer.apple.com/account/resources/identifiers/list/serviceId",
        steps="Create a Services ID with the redirect address as its return URL, and a key for it.",
    ),
    "oidc": Kind(
        name="OpenID Connect",
        note="Keycloak, Okta, Auth0, Authentik, a customer’s own: whatever has a discovery document.",
        steps="Create a confidential client with the authorization code flow, and add the redirect address.",
    ),
    "oauth2": Kind(
        name="OAuth 2.0",
        note="A provider without a discovery document, which tells who somebody is at an address of its own.",
        steps="Create a client with the authorization code flow, and add the redirect address.",
    ),
}


async def show_all(page: Page) -> Response:
    """The providers, in the order of their buttons."""
    providers = await page.get("/apps/{app}/providers", list[ProviderView])
    return page.render(
        LIST,
        tabs=tabs(page),
        tab=TAB,
        providers=providers,
        kinds=KINDS,
        trusted_about=trusted_about,
        warning_about=warning_about,
    )


async def choose(page: Page) -> Response:
    """The types, and the form of the one that was chosen."""
    kind = page.query("type")
    if kind not in TYPES:
        return page.render("provider_types.html", tabs=tabs(page), tab=TAB, kinds=KINDS)
    chosen = msgspec.convert(kind, ProviderType)
    return await _new(page, chosen, provider_forms.of_type(chosen), name=kind)


async def add(page: Page) -> Response:
    """Adds a provider, or shows the form again with what is wrong."""
    kind, name = page.form.text("type"), page.form.text("name")
    if kind not in TYPES:
        raise InvalidRequest("Choose the type of the provider.")
    chosen = msgspec.convert(kind, ProviderType)
    try:
        fields = provider_forms.change_of(page.form, provider_forms.of_type(chosen))
        change = msgspec.structs.asdict(provider_forms.is_change({"client_id": "", **fields}))
        body = NewProvider(name=name, type=chosen, **change)
        made = await page.send("POST", "/apps/{app}/providers", ProviderView, body)
    except (InvalidRequest, Conflict) as error:
        shown = provider_forms.typed(page.form)
        return await _new(page, chosen, shown, name=name, refused=error)
    sentence = f"{made.display_name} is added. Register the redirect address there, then test it."
    return page.done(page.here("sign-in", "providers", made.name), sentence)


async def show(page: Page) -> Response:
    """One provider: its form, and the address to register."""
    return await _one(page, await _found(page))


async def save(page: Page) -> Response:
    """Changes what is different from what is in force."""
    provider = await _found(page)
    name = provider.name
    present = provider_forms.of_provider(provider)
    try:
        seen.refuse_stale(page.form, present)
        change = provider_forms.change_of(page.form, present)
        if change:
            body = provider_forms.is_change(change)
            await page.send("PUT", "/apps/{app}/providers/{provider}", ProviderView, body, provider=name)
    except (InvalidRequest, Conflict) as error:
        return await _one(page, provider, shown=provider_forms.typed(page.form), refused=error)
    sentence = f"{provider.display_name} is saved." if change else "Nothing was different."
    return page.done(page.here("sign-in", "providers", name), sentence)


async def test(page: Page) -> Response:
    """Examines the provider, and shows each step."""
    provider = await _found(page)
    path = "/apps/{app}/providers/{provider}/test"
    found = await page.send("POST", path, Examination, provider=provider.name)
    if page.wants_fragment:
        return page.render_block(FORM, "findings", found=found, provider=provider)
    return await _one(page, provider, found=found)


async def remove(page: Page) -> Response:
    """Removes the provider."""
    provider = await _found(page)
    await page.send("DELETE", "/apps/{app}/providers/{provider}", type(None), provider=provider.name)
    return page.done(page.here("sign-in", "providers"), f"{provider.display_name} is removed.")


async def _found(page: Page) -> ProviderView:
    path = "/apps/{app}/providers/{provider}"
    return await page.get(path, ProviderView, provider=page.param("provider"))


async def _new(
    page: Page, kind: ProviderType, shown: dict[str, str], *, name: str, refused: AdmitError | None = None
) -> Response:
    app = await page.get("/apps/{app}", AppView)
    callback = f"{app.database_url}/oauth/callback/{name or kind}"
    return page.render(
        "provider_new.html",
        status=page.status_of(refused),
        name=name,
        callback=callback,
        **_form_values(page, kind, shown, refused),
    )


async def _one(
    page: Page,
    provider: ProviderView,
    *,
    shown: dict[str, str] | None = None,
    refused: AdmitError | None = None,
    found: Examination | None = None,
) -> Response:
    return page.render(
        FORM,
        status=page.status_of(refused),
        provider=provider,
        seen=seen.mark(provider_forms.of_provider(provider)),
        found=found,
        warning=warning_about(provider),
        **_form_values(page, provider.type, shown or provider_forms.of_provider(provider), refused),
    )


def _form_values(
    page: Page, kind: ProviderType, shown: dict[str, str], refused: AdmitError | None
) -> dict[str, Any]:
    """What the fields of the form need. `wrong`: the sentence, by the field that it is about."""
    sentence = "" if refused is None else refused.message
    place = provider_forms.place_of(sentence)
    return {
        "tabs": tabs(page),
        "tab": TAB,
        "type": kind,
        "kind": KINDS[kind],
        "values": shown,
        "labels": provider_forms.LABELS,
        "offers": {field for field in Provider.__struct_fields__ if kind in TYPES_OF.get(field, (kind,))},
        "more_is_open": bool(place) and place not in provider_forms.visible(kind),
        "wrong": {place: sentence} if place else {},
        "problem": "" if place else sentence,
    }


PAGES = (
    page("GET", "/apps/{app}/sign-in/providers", show_all, nav="sign-in"),
    page("GET", "/apps/{app}/sign-in/new-provider", choose, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/new-provider", add, nav="sign-in"),
    page("GET", "/apps/{app}/sign-in/providers/{provider}", show, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/providers/{provider}", save, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/providers/{provider}/test", test, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/providers/{provider}/remove", remove, nav="sign-in"),
)
