"""What can be chosen for a provider of single sign-on on the command line, and how it is read."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from msgspec import UNSET, UnsetType

from admit.cli.command import Refusal
from admit.cli.values import parse_list

NONE = "none"
DEFAULT = "default"
STDIN = Path("-")
SECRET_CHARACTERS_MAX = 10_000
_NAMED_ALIKE = (
    "issuer",
    "person",
    "display_name",
    "team_id",
    "key_id",
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "emails_endpoint",
    "response_mode",
)
"""Texts that have the same name here and in the API."""

ProviderName = Annotated[
    str, typer.Argument(metavar="PROVIDER", help="The name of the provider.", show_default=False)
]
ClientId = Annotated[
    str | None,
    typer.Option(metavar="ID", help="What the provider calls this app.", show_default=False),
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A file with the client secret, or of apple the .p8 file of the key. `-` is the standard input, "
        "which `add` reads without it, too.",
        show_default=False,
    ),
]
Public = Annotated[bool, typer.Option("--public", help="There is no client secret.")]
Issuer = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="oidc: below which /.well-known/openid-configuration is, exactly as written there, with or "
        "without a / at its end.",
        show_default=False,
    ),
]
DisplayName = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What people see on the button.", show_default=False)
]
Icon = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The picture on the button: https://… or data:image/…", show_default=False
    ),
]
TrustEmail = Annotated[
    str | None,
    typer.Option(
        metavar="DOMAIN,…",
        help="Whose email addresses it is believed about: of domains whose mailboxes it keeps; `*` is "
        "everybody, none is nobody. Of google also hd: the domains of Google Workspace.",
        show_default=False,
    ),
]
PersonOption = Annotated[
    Literal["email", "subject"] | None,
    typer.Option(
        help="Who a newcomer is: the owner of their email (the default), or somebody who is known by this "
        "provider alone (subject).",
        show_default=False,
    ),
]
Scopes = Annotated[
    str | None,
    typer.Option("--scope", metavar="SCOPE,…", help="What it is asked for.", show_default=False),
]
Claims = Annotated[
    list[str] | None,
    typer.Option(
        "--claim",
        metavar="NAME=PATH",
        help="A claim to keep for policies and the ledger, and where it stands: groups=groups, "
        "roles=realm_access.roles. As often as you like. email, email_verified and name say where those are.",
        show_default=False,
    ),
]
Audiences = Annotated[
    str | None,
    typer.Option(
        "--audience",
        metavar="ID,…",
        help="Whose ID tokens may be exchanged for ours (RFC 8693): the client ids of your apps; none: it is "
        "off.",
        show_default=False,
    ),
]
Tenants = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        metavar="GUID,…",
        help="microsoft: the organizations that may sign in; none: whom the issuer lets in.",
        show_default=False,
    ),
]
TeamId = Annotated[str | None, typer.Option(metavar="ID", help="apple: the team.", show_default=False)]
KeyId = Annotated[str | None, typer.Option(metavar="ID", help="apple: the key.", show_default=False)]
AuthorizationEndpoint = Annotated[
    str | None,
    typer.Option(metavar="URL", help="oauth2, github: where people sign in.", show_default=False),
]
TokenEndpoint = Annotated[
    str | None,
    typer.Option(metavar="URL", help="oauth2, github: where the code is redeemed.", show_default=False),
]
UserinfoEndpoint = Annotated[
    str | None,
    typer.Option(metavar="URL", help="oauth2, github: where it tells who somebody is.", show_default=False),
]
EmailsEndpoint = Annotated[
    str | None,
    typer.Option(metavar="URL", help="github: where it lists their addresses.", show_default=False),
]
ResponseModeOption = Annotated[
    Literal["query", "form_post"] | None,
    typer.Option(help="How people are sent back.", show_default=False),
]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What can be chosen when a provider is added and later; None where it was not."""

    secret_file: SecretFile = None
    public: Public = False
    issuer: Issuer = None
    trust_email: TrustEmail = None
    person: PersonOption = None
    display_name: DisplayName = None
    icon: Icon = None
    scope: Scopes = None
    claim: Claims = None
    audience: Audiences = None
    tenant: Tenants = None
    team_id: TeamId = None
    key_id: KeyId = None
    authorization_endpoint: AuthorizationEndpoint = None
    token_endpoint: TokenEndpoint = None
    userinfo_endpoint: UserinfoEndpoint = None
    emails_endpoint: EmailsEndpoint = None
    response_mode: ResponseModeOption = None


def with_choices(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command an option for each of Choices, and `function` what was chosen, as `choices`."""

    def run(*arguments: Any, **options: Any) -> None:
        choices = Choices(**{each.name: options.pop(each.name) for each in fields(Choices)})
        function(*arguments, **options, choices=choices)

    own = [each for each in inspect.signature(function).parameters.values() if each.name != "choices"]
    offered = [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, annotation=each.type, default=each.default
        )
        for each in fields(Choices)
    ]
    run.__signature__ = inspect.Signature([*own, *offered])  # type: ignore[attr-defined]
    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    return run


def given(choices: Choices, *, client_id: str | None, secret: str | None) -> dict[str, Any]:
    """What was given, as the API names it: `default` is what the type presets, `none` nothing."""
    chosen: dict[str, Any] = {
        "client_id": UNSET if client_id is None else client_id,
        "client_secret": UNSET if secret is None else secret,
        "icon_url": _text(choices.icon),
        "trusted_domains": _list(choices.trust_email),
        "scopes": _list(choices.scope),
        "claims": _claims(choices.claim),
        "audiences": _list(choices.audience),
        "tenants": _list(choices.tenant),
    }
    chosen |= {name: _text(getattr(choices, name)) for name in _NAMED_ALIKE}
    return {name: value for name, value in chosen.items() if value is not UNSET}


def read_secret(file: Path | None, *, public: bool) -> str | None:
    """The secret in `file`, or in the standard input; "" for a public client, None where none was given."""
    if public and file is not None:
        raise Refusal("With --public there is no secret, so --secret-file has no place.", 2)
    if public:
        return ""
    if file is None:
        return None
    secret = _typed() if file == STDIN else _read(file)
    if not secret:
        raise Refusal(
            "Which client secret? Write it to the standard input, name its file by --secret-file, or say "
            "--public where there is none.",
            2,
        )
    return secret


def _typed() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.read(SECRET_CHARACTERS_MAX).strip()
    from getpass import getpass

    return getpass("Client secret (it is not shown): ").strip()


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(SECRET_CHARACTERS_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(
            f"{file} cannot be read as text: {getattr(error, 'strerror', 'not UTF-8')}.", 2
        ) from None


def _text(value: str | None) -> str | UnsetType | None:
    if value is None:
        return UNSET
    return None if value == DEFAULT else "" if value == NONE else value


def _list(value: str | None) -> tuple[str, ...] | UnsetType | None:
    if value is None:
        return UNSET
    return None if value == DEFAULT else () if value == NONE else parse_list(value)


def _claims(pairs: list[str] | None) -> dict[str, str] | UnsetType:
    if not pairs:
        return UNSET
    if pairs == [NONE]:
        return {}
    claims = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals:
            raise Refusal(f"{pair!r} is no claim. Write it like groups=groups", 2)
        claims[name.strip()] = path.strip()
    return claims
