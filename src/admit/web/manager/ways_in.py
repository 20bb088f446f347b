"""/apps/APP/sign-in: every way by which people come into an app, whether it is open, and what it needs."""

from urllib.parse import quote

from starlette.responses import Response

from admit.accounts.provider_presets import preset
from admit.accounts.providers import EVERY_DOMAIN
from admit.web.admin_mail_api import MailView
from admit.web.admin_providers_api import ProviderView
from admit.web.admin_settings_api import SettingsChange
from admit.web.admin_types import AppView, ClientView
from admit.web.manager.pages import Page, page
from admit.web.manager.toasts import Undo

IMPERSONATE = "IMPERSONATE"
"""The scope by which a server of the operator's says who somebody is."""

TAB = "Ways in"
DOMAINS_SHOWN_MAX = 3


def tabs(page: Page) -> list[tuple[str, str]]:
    """The pages about signing in, which are tabs of one another."""
    return [
        (page.here("sign-in"), TAB),
        (page.here("sign-in", "providers"), "Providers"),
        (page.here("sign-in", "links"), "Enrollment links"),
        (page.here("sign-in", "mail"), "Mail"),
        (page.here("sign-in", "mail-texts"), "Mail texts"),
    ]


def trusted_about(provider: ProviderView) -> str:
    """About whom a provider is believed, as a part of a sentence."""
    if provider.person == "subject":
        return "itself"
    if EVERY_DOMAIN in provider.trusted_domains:
        return "everybody"
    if not provider.trusted_domains:
        return "nobody"
    shown = [each if each != "hd" else "Workspace domains" for each in provider.trusted_domains]
    more = len(shown) - DOMAINS_SHOWN_MAX
    return ", ".join(shown[:DOMAINS_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def warning_about(provider: ProviderView) -> str:
    """What about a provider may not have been meant; "": nothing."""
    if provider.person == "subject":
        return ""
    if not provider.trusted_domains:
        return "It is believed about no email address, so nobody new comes in by it."
    known = preset(provider.type)
    at_home = provider.issuer == known.get("issuer") and EVERY_DOMAIN in known.get("trusted_domains", ())
    if EVERY_DOMAIN in provider.trusted_domains and not at_home:
        return f"Whoever runs {provider.display_name} can sign in as anybody here who has an email address."
    return ""


async def show(page: Page) -> Response:
    """The ways in, and the rules that they share."""
    app, providers, clients, mail = await page.together(
        page.get("/apps/{app}", AppView),
        page.get("/apps/{app}/providers", list[ProviderView]),
        page.get("/apps/{app}/clients", list[ClientView]),
        page.get("/apps/{app}/mail", MailView),
    )
    vouching = [each for each in clients if each.state == "active" and IMPERSONATE in each.scopes]
    return page.render(
        "ways_in.html",
        tabs=tabs(page),
        tab=TAB,
        app=app,
        providers=providers,
        vouching=vouching,
        mail=mail,
        trusted_about=trusted_about,
        warning_about=warning_about,
    )


async def set_codes(page: Page) -> Response:
    """Lets people sign in by mailed codes, or not."""
    on = page.form.text("mailed_codes") == "on"
    await page.send("POST", "/apps/{app}/settings", AppView, SettingsChange(mailed_codes=on))
    sentence = f"Mailed codes are {'on' if on else 'off'}."
    undo = Undo(f"{_path(page)}/codes", {"mailed_codes": "off" if on else "on"})
    return page.done(page.here("sign-in"), sentence, undo)


async def set_rules(page: Page) -> Response:
    """Sets what all ways in share."""
    form = page.form
    before = (await page.get("/apps/{app}", AppView)).settings
    wanted = SettingsChange(
        refuse_hopeless_at_step_1=form.flag("refuse_hopeless"), sso_any_network=form.flag("any_network")
    )
    await page.send("POST", "/apps/{app}/settings", AppView, wanted)
    former = {"refuse_hopeless": before.refuse_hopeless_at_step_1, "any_network": before.sso_any_network}
    undo = Undo(f"{_path(page)}/rules", {name: "on" for name, on in former.items() if on})
    return page.done(page.here("sign-in"), "The rules of signing in are saved.", undo)


def _path(page: Page) -> str:
    return f"/apps/{quote(page.app, safe='')}/sign-in"


PAGES = (
    page("GET", "/apps/{app}/sign-in", show, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/codes", set_codes, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/rules", set_rules, nav="sign-in"),
)
