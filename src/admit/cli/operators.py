"""admit operator: who runs the house, and how somebody gets back in who is locked out."""

from typing import TYPE_CHECKING, Annotated

import typer

from admit.cli.command import Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.web.operator_types import OperatorLink, OperatorView

operators = group(
    "operator",
    "Operators: who runs the house, in the Manager.",
    example="admit operator invite bob@example.com --role support",
)

Email = Annotated[
    str, typer.Argument(metavar="EMAIL", help="The operator's email, or id.", show_default=False)
]
RoleOption = Annotated[
    str,
    typer.Option("--role", metavar="ROLE", help="owner, admin, support or read-only.", show_default=False),
]


@command(operators, "list", example="admit operator list")
def list_operators(terminal: Terminal) -> None:
    """Lists the operators, also those who are invited or deactivated."""
    from admit.web.operator_types import OperatorView

    terminal.out.many(
        terminal.call("GET", target("operators"), None, list[OperatorView]),
        [
            Column[OperatorView]("EMAIL", lambda operator: operator.email),
            Column("NAME", lambda operator: operator.name),
            Column("ROLE", lambda operator: operator.role),
            Column("STATE", _state),
            Column("SIGNS IN BY", _ways),
            Column("OPERATOR ID", lambda operator: operator.operator_id),
        ],
        none="There is no operator. `admit serve` prints a link that sets up the first, or: "
        "admit operator invite EMAIL --role owner",
    )


@command(
    operators, "invite", makes_database=True, example="admit operator invite bob@example.com --role support"
)
def invite(terminal: Terminal, email: Email, role: RoleOption) -> None:
    """Adds an operator and prints the link by which they come in, this once."""
    from admit.operators.people import parse_role
    from admit.web.operator_types import NewOperator, OperatorLink

    body = NewOperator(email=email, role=parse_role(role))
    _show(terminal, terminal.call("POST", target("operators"), body, OperatorLink))


@command(operators, "link", example="admit operator link bob@example.com")
def link(terminal: Terminal, email: Email) -> None:
    """Prints a new link for an operator who is invited or locked out, this once; former ones open no more."""
    from admit.web.operator_types import OperatorLink

    _show(terminal, terminal.call("POST", target("operators", email, "link"), None, OperatorLink))


@command(operators, "role", example="admit operator role bob@example.com --role admin")
def role(terminal: Terminal, email: Email, role: RoleOption) -> None:
    """Gives an operator another role, and ends their sessions."""
    from admit.operators.people import parse_role
    from admit.web.operator_types import NewRole, OperatorView

    body = NewRole(role=parse_role(role))
    changed = terminal.call("PUT", target("operators", email, "role"), body, OperatorView)
    terminal.out.done(changed, f"{changed.email} is {changed.role}.")


@command(operators, "deactivate", example="admit operator deactivate bob@example.com")
def deactivate(terminal: Terminal, email: Email, yes: Yes = False) -> None:
    """Lets an operator in no more; their sessions and links end at once."""
    from admit.web.operator_types import OperatorView

    terminal.confirm(f"{email} is signed out everywhere at once, and cannot come back.", yes=yes)
    changed = terminal.call("POST", target("operators", email, "deactivation"), None, OperatorView)
    terminal.out.done(changed, f"{changed.email} is deactivated.")


@command(operators, "reactivate", example="admit operator reactivate bob@example.com")
def reactivate(terminal: Terminal, email: Email) -> None:
    """Lets an operator in again, with the passkeys and the password of before."""
    from admit.web.operator_types import OperatorView

    changed = terminal.call("DELETE", target("operators", email, "deactivation"), None, OperatorView)
    terminal.out.done(changed, f"{changed.email} may sign in again.")


@command(operators, "sessions", example="admit operator sessions bob@example.com")
def sessions(
    terminal: Terminal,
    email: Annotated[
        str | None,
        typer.Argument(metavar="[EMAIL]", help="Whose; without it, everybody's.", show_default=False),
    ] = None,
) -> None:
    """Lists where operators are signed in."""
    from admit.web.operator_types import OperatorSessionView

    terminal.out.many(
        terminal.call("GET", target("operator-sessions", operator=email), None, list[OperatorSessionView]),
        [
            Column[OperatorSessionView]("SESSION ID", lambda session: session.session_id),
            Column("EMAIL", lambda session: session.email),
            Column("BY", lambda session: session.method),
            Column("ADDRESS", lambda session: session.address),
            Column("SINCE", lambda session: moment(session.created_at)),
            Column("LAST SEEN", lambda session: moment(session.seen_at)),
        ],
        none="Nobody is signed in.",
    )


@command(operators, "sign-out", example="admit operator sign-out bob@example.com")
def sign_out(terminal: Terminal, email: Email, yes: Yes = False) -> None:
    """Ends every session of an operator, at once."""
    from admit.web.operator_types import SessionsEnded

    terminal.confirm(f"{email} is signed out everywhere at once.", yes=yes)
    ended = terminal.call("DELETE", target("operators", email, "sessions"), None, SessionsEnded)
    terminal.out.done(ended, f"Sessions that have ended: {ended.ended}.")


def _show(terminal: Terminal, made: "OperatorLink") -> None:
    terminal.out.one(
        made,
        [
            ("operator", made.operator.email),
            ("role", made.operator.role),
            ("link", made.link),
            ("ends", moment(made.expires_at)),
        ],
    )
    terminal.out.note(
        f"Give the link to {made.operator.email} yourself: it works once, and cannot be shown again."
    )


def _state(operator: "OperatorView") -> str:
    if operator.deactivated_at is not None:
        return f"deactivated since {moment(operator.deactivated_at)}"
    return "active" if operator.joined_at is not None else "invited"


def _ways(operator: "OperatorView") -> str:
    ways = ["password"] if operator.has_password else []
    if operator.passkeys:
        ways.append("passkey" if operator.passkeys == 1 else f"{operator.passkeys} passkeys")
    return ", ".join(ways)
