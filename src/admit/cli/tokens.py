"""admit token: keys to the admin API."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from admit.cli.command import Refusal, Terminal, Yes, command, duration_option, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import listed, moment, parse_list

if TYPE_CHECKING:
    from admit.web.admin_types import TokenSecret

tokens = group(
    "token",
    "Operator tokens: for programs, and for commands that work from elsewhere.",
    example="admit token create --label deploy --expires 90d",
)

EXPIRES_SECONDS_MIN = 60

FIRST_COMMANDS = (
    ("users:read", "user list"),
    ("sessions:read", "session list"),
    ("events:read", "event list"),
    ("webhooks:read", "endpoint list"),
    ("tasks:read", "task list"),
)
"""What to try a token with: a scope and the command, of an app, that needs nothing else."""


@command(
    tokens,
    "create",
    makes_database=True,
    example="admit token create --label deploy --scopes apps:read,users:read --expires 90d",
)
def create(
    terminal: Terminal,
    label: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.", show_default=False)] = "",
    app: Annotated[
        str | None,
        typer.Option(metavar="APP", help="For this app only. Without it, for all.", show_default=False),
    ] = None,
    scopes: Annotated[
        str | None,
        typer.Option(
            metavar="SCOPE,…",
            help="What it may do, separated by commas. Without it, everything.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        float | None,
        duration_option("When it ends, from now, e.g. 90d. Without it, when it is revoked."),
    ] = None,
) -> None:
    """Makes a token for the admin API and shows it, this once."""
    from admit.web.admin_types import NewToken, TokenSecret

    if expires is not None and expires < EXPIRES_SECONDS_MIN:
        raise Refusal("A token lives for a minute at least, e.g. --expires 90d", 2)
    body = NewToken(
        label=label,
        app=app,
        scopes=None if scopes is None else list(parse_list(scopes)),
        expires_in_seconds=None if expires is None else math.ceil(expires),
    )
    token = terminal.call("POST", target("tokens"), body, TokenSecret)
    terminal.out.one(
        token,
        [
            ("token", token.token),
            ("token id", token.token_id),
            ("scopes", listed(token.scopes)),
            ("app", token.app or "all"),
            ("ends", moment(token.expires_at) or "when revoked"),
        ],
    )
    terminal.out.note(f"Keep the token now: it cannot be shown again. {_next(token)}")


def _next(token: "TokenSecret") -> str:
    """How the token is used where commands work from elsewhere."""
    given = "Next, elsewhere: export ADMIT_URL=https://… ADMIT_TOKEN=adm_…"
    if token.app is None and "apps:read" in token.scopes:
        return f"{given} and type: admit app list"
    fits = [verb for scope, verb in FIRST_COMMANDS if scope in token.scopes]
    return f"{given} and type: admit {fits[0]} {token.app or 'APP'}" if fits else given


@command(tokens, "list", example="admit token list")
def list_tokens(terminal: Terminal) -> None:
    """Lists the tokens for the admin API, without the tokens themselves."""
    from admit.web.admin_types import TokenView

    terminal.out.many(
        terminal.call("GET", target("tokens"), None, list[TokenView]),
        [
            Column[TokenView]("TOKEN ID", lambda token: token.token_id),
            Column("LABEL", lambda token: token.label),
            Column("APP", lambda token: token.app or "all"),
            Column("SCOPES", lambda token: " ".join(token.scopes)),
            Column("CREATED", lambda token: moment(token.created_at)),
            Column("ENDS", lambda token: moment(token.expires_at)),
            Column("REVOKED", lambda token: moment(token.revoked_at)),
        ],
        none="There is no token. `admit token create` makes one.",
    )


@command(tokens, "revoke", example="admit token revoke opt_7k3m")
def revoke(
    terminal: Terminal,
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="The token's id.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Ends a token for the admin API, for good and at once."""
    terminal.confirm(f"Whoever uses the token {token_id} is locked out at once.", yes=yes)
    terminal.call("DELETE", target("tokens", token_id), None, type(None))
    terminal.out.done({"token_id": token_id, "revoked": True}, f"{token_id} is revoked.")
