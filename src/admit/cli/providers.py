"""admit provider: single sign-on, whom an app believes about people."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from admit.cli.command import AppName, Refusal, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.provider_options import (
    STDIN,
    Choices,
    ClientId,
    ProviderName,
    given,
    read_secret,
    with_choices,
)
from admit.cli.values import listed

if TYPE_CHECKING:
    from admit.cli.output import Facts
    from admit.web.admin_providers_api import ProviderView

providers = group(
    "provider",
    "Providers: single sign-on with Google, Microsoft or your own.",
    example="admit provider add notes google --client-id 1234.apps.googleusercontent.com < secret.txt",
)

NONE = "none"
EVERYBODY = "*"
Type = Literal["google", "github", "microsoft", "apple", "oidc", "oauth2"]
PRESET = ("google", "github", "apple")
"""Types about which it is known whom they may be believed about."""


@command(
    providers,
    "add",
    example="admit provider add notes google --client-id 1234.apps.googleusercontent.com < secret.txt",
)
@with_choices
def add(
    terminal: Terminal,
    app: AppName,
    kind: Annotated[
        Type,
        typer.Argument(
            metavar="TYPE",
            help="google, github, microsoft, apple, oidc (any OpenID Connect) or oauth2.",
            show_default=False,
        ),
    ],
    client_id: Annotated[
        str, typer.Option(metavar="ID", help="What the provider calls this app.", show_default=False)
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Its name in addresses; the TYPE by default.", show_default=False),
    ] = None,
    *,
    choices: Choices,
) -> None:
    """Lets people sign in to an app by a provider. The client secret is read from the standard input.

    \b
      admit provider add notes google --client-id ID < secret.txt
      admit provider add notes microsoft --client-id ID --tenant GUID --trust-email acme.org < secret.txt
      admit provider add notes apple --client-id ID --team-id ID --key-id ID < AuthKey.p8
      admit provider add notes oidc --name acme --issuer https://id.acme.org --client-id ID
        --trust-email acme.org < secret.txt

    The address to register at the provider is in the answer.
    """
    from admit.web.admin_providers_api import NewProvider, ProviderView

    secret = read_secret(choices.secret_file or (None if choices.public else STDIN), public=choices.public)
    chosen = given(choices, client_id=client_id, secret=secret)
    body = NewProvider(name=kind if name is None else name, type=kind, **chosen)
    made = terminal.call("POST", target("apps", app, "providers"), body, ProviderView)
    terminal.out.one(made, _facts(made))
    _warn(terminal, app, made)
    terminal.out.note(
        f"Next: register the callback URL at {made.display_name}, exactly as it stands here, then "
        f"admit provider test {app} {made.name}"
    )


@command(providers, "list", example="admit provider list notes")
def list_providers(terminal: Terminal, app: AppName) -> None:
    """Lists the providers of an app, in the order of its buttons."""
    from admit.web.admin_providers_api import ProviderView

    terminal.out.many(
        terminal.call("GET", target("apps", app, "providers"), None, list[ProviderView]),
        [
            Column["ProviderView"]("PROVIDER", lambda provider: provider.name),
            Column("TYPE", lambda provider: provider.type),
            Column("SHOWN AS", lambda provider: provider.display_name),
            Column("TRUSTED ABOUT", _trusted),
            Column("CLIENT ID", lambda provider: provider.client_id),
            Column("ISSUER", lambda provider: provider.issuer),
        ],
        none=f"Nobody signs in to {app} by a provider. `admit provider add {app} TYPE` lets people do so.",
    )


@command(providers, "show", example="admit provider show notes google")
def show(terminal: Terminal, app: AppName, provider: ProviderName) -> None:
    """Shows a provider, without its secret, and the address to register there."""
    from admit.web.admin_providers_api import ProviderView

    found = terminal.call("GET", target("apps", app, "providers", provider), None, ProviderView)
    terminal.out.one(found, _facts(found))


@command(providers, "set", example="admit provider set notes google --trust-email gmail.com,hd,acme.org")
@with_choices
def set_provider(
    terminal: Terminal,
    app: AppName,
    provider: ProviderName,
    client_id: ClientId = None,
    *,
    choices: Choices,
) -> None:
    """Changes some of what is chosen for a provider, and leaves the others. It holds from the next sign-in.

    `default` in the place of a value is what its type presets. Claims are replaced as a whole; none takes
    all of yours away. A new secret: --secret-file - < secret.txt

    With another --issuer or --token-endpoint the secret goes elsewhere: give it again (--secret-file), or
    --public. What the type trusts by itself is not trusted elsewhere: say --trust-email.
    """
    from admit.accounts.provider_changes import ProviderChange
    from admit.web.admin_providers_api import ProviderView

    secret = read_secret(choices.secret_file, public=choices.public)
    chosen = given(choices, client_id=client_id, secret=secret)
    if not chosen:
        raise Refusal("What is to change? `admit provider set --help` shows the options.", 2)
    where = target("apps", app, "providers", provider)
    changed = terminal.call("PUT", where, ProviderChange(**chosen), ProviderView)
    terminal.out.one(changed, _facts(changed))
    _warn(terminal, app, changed)


@command(providers, "remove", example="admit provider remove notes google")
def remove(terminal: Terminal, app: AppName, provider: ProviderName, yes: Yes = False) -> None:
    """Lets nobody sign in by a provider any more. Who has come by it stays, and so do their sessions."""
    terminal.confirm(
        f"Nobody signs in to {app} by {provider} any more, and its secret and its policy are forgotten. Who "
        "came by it stays, and is known again when it is added again.",
        yes=yes,
    )
    terminal.call("DELETE", target("apps", app, "providers", provider), None, type(None))
    terminal.out.done({"name": provider, "removed": True}, f"{provider} is removed.")


@command(providers, "test", example="admit provider test notes google")
def test(terminal: Terminal, app: AppName, provider: ProviderName) -> None:
    """Asks a provider what can be asked without a person, step by step, and says what is wrong.

    It ends with 1 where something is. Nothing is changed.
    """
    from admit.web.admin_providers_api import Examination

    found = terminal.call("POST", target("apps", app, "providers", provider, "test"), None, Examination)
    marked = [(f"{'✓' if each.ok else '✗'} {each.step}", each.detail) for each in found.findings]
    terminal.out.one(found, marked)
    if not found.ok:
        wrong = next(each for each in found.findings if not each.ok)
        raise Refusal(f"{provider} cannot be used like this. {wrong.detail}")
    terminal.out.note(f"People can sign in to {app} by {provider}.")


def _warn(terminal: Terminal, app: str, provider: "ProviderView") -> None:
    """Tells what may not have been meant."""
    from admit.accounts.provider_presets import preset

    if provider.person == "email" and not provider.trusted_domains:
        terminal.out.note(
            "It is believed about no email address, so nobody new comes in by it. Name the domains whose "
            f"mailboxes it keeps: admit provider set {app} {provider.name} --trust-email example.com"
        )
    known = provider.type in PRESET and provider.issuer == preset(provider.type)["issuer"]
    if provider.person == "email" and EVERYBODY in provider.trusted_domains and not known:
        terminal.out.note(
            f"Whoever runs {provider.display_name} can sign in as anybody here who has an email address."
        )


def _trusted(provider: "ProviderView") -> str:
    if provider.person == "subject":
        return "itself"
    if EVERYBODY in provider.trusted_domains:
        return "everybody"
    return listed(provider.trusted_domains, none="nobody")


def _facts(provider: "ProviderView") -> "Facts":
    people = "owners of their emails" if provider.person == "email" else "known by it alone"
    facts = [
        ("provider", provider.name),
        ("type", provider.type),
        ("shown as", provider.display_name),
        ("callback URL", provider.callback_url),
        ("issuer", provider.issuer),
        ("client id", provider.client_id),
        ("client secret", "kept" if provider.has_secret else "none: a public client"),
        ("newcomers are", people),
        ("trusted about", _trusted(provider)),
        ("scopes", listed(provider.scopes, none=NONE)),
        ("claims", listed((f"{name}={path}" for name, path in provider.claims.items()), none=NONE)),
        ("token exchange", f"of {listed(provider.audiences)}" if provider.audiences else "off"),
    ]
    more = {
        "team id": provider.team_id,
        "key id": provider.key_id,
        "tenants": listed(provider.tenants),
        "authorization endpoint": provider.authorization_endpoint,
        "token endpoint": provider.token_endpoint,
        "userinfo endpoint": provider.userinfo_endpoint,
        "emails endpoint": provider.emails_endpoint,
        "response mode": "" if provider.response_mode == "query" else provider.response_mode,
        "icon": provider.icon_url,
    }
    return [*facts, *((label, text) for label, text in more.items() if text)]
