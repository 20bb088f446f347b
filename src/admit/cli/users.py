"""admit user: the people of an app."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from admit.cli.command import AppName, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.cli.replies import Person

users = group("user", "Users: the people of an app.", example="admit user list notes --search ada")

PAGE_SIZE = 1_000

UserId = Annotated[str, typer.Argument(metavar="USER_ID", help="The userId.", show_default=False)]


Type = Literal["eval", "prod", "demo"]
Sort = Literal[
    "created", "updated", "lastLogin", "validUntil", "evalDaysLeft", "userId", "type", "displayName"
]


@command(
    users, "list", example="admit user list notes --search ada --type prod --sort lastLogin --desc --limit 20"
)
def list_users(
    terminal: Terminal,
    app: AppName,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Only whose userId, email or a word of whose name begins so.",
            show_default=False,
        ),
    ] = None,
    type: Annotated[Type | None, typer.Option(help="Only of this type.", show_default=False)] = None,
    sort: Annotated[Sort, typer.Option(help="By what.")] = "created",
    desc: Annotated[bool, typer.Option("--desc", help="The largest or latest first.")] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many.", show_default=False)
    ] = None,
) -> None:
    """Lists the people of an app, however many, as they are read."""
    query = {
        "search": search,
        "type": type,
        "sort": sort,
        "desc": "true" if desc else None,
    }
    terminal.out.many(
        _pages(terminal, app, query, limit),
        [
            Column["Person"]("USER ID", lambda user: user.user_id),
            Column("NAME", lambda user: user.name),
            Column("EMAIL", lambda user: user.email if user.email != user.user_id else "="),
            Column("TYPE", lambda user: user.type),
            Column("LICENSE", lambda user: user.license),
            Column("CREATED", lambda user: moment(user.created_at)),
            Column("LAST LOGIN", lambda user: moment(user.last_login_at)),
        ],
        none="Nobody.",
    )


@command(users, "show", example="admit user show notes ada@example.com")
def show(terminal: Terminal, app: AppName, user_id: UserId) -> None:
    """Shows what is known of one person."""
    from admit.cli.replies import Person

    user = terminal.call("GET", target("apps", app, "users", user_id), None, Person)
    facts = [
        ("user id", user.user_id),
        ("name", user.name),
        (
            "email",
            f"{user.email} ({'verified' if user.email_verified else 'not verified'})" if user.email else "",
        ),
        ("type", user.type),
        ("license", user.license),
        ("trial", f"{user.eval_days_left} of {user.eval_days_max} active days left"),
        ("valid until", moment(user.valid_until) or "no end"),
        ("deactivated", moment(user.deactivated_at) or "no"),
        ("created", moment(user.created_at)),
        ("updated", moment(user.updated_at)),
        ("last login", moment(user.last_login_at) or "never"),
        ("data", bytes(user.data).decode()),
        ("uid", user.uid),
    ]
    terminal.out.one(user, [fact for fact in facts if fact[0] != "trial" or user.type == "eval"])


@command(users, "deactivate", example="admit user deactivate notes ada@example.com")
def deactivate(terminal: Terminal, app: AppName, user_id: UserId, yes: Yes = False) -> None:
    """Locks a person out until `admit user reactivate`. What they have is kept."""
    from admit.cli.replies import Person

    terminal.confirm(f"{user_id} can no longer sign in to {app} or sync.", yes=yes)
    where = target("apps", app, "users", user_id, "deactivation")
    user = terminal.call("POST", where, None, Person)
    terminal.out.done(user, f"{user.user_id} is deactivated.")


@command(users, "reactivate", example="admit user reactivate notes ada@example.com")
def reactivate(terminal: Terminal, app: AppName, user_id: UserId) -> None:
    """Lets a deactivated person in again."""
    from admit.cli.replies import Person

    where = target("apps", app, "users", user_id, "deactivation")
    user = terminal.call("DELETE", where, None, Person)
    terminal.out.done(user, f"{user.user_id} is active again.")


@command(users, "delete", example="admit user delete notes ada@example.com")
def delete(terminal: Terminal, app: AppName, user_id: UserId, yes: Yes = False) -> None:
    """Deletes a person with their devices, sessions and data. Who returns is a newcomer."""
    terminal.confirm(f"{user_id} is deleted from {app} for good, with devices, sessions and data.", yes=yes)
    terminal.call("DELETE", target("apps", app, "users", user_id), None, type(None))
    terminal.out.done({"user_id": user_id, "deleted": True}, f"{user_id} is deleted.")


def _pages(
    terminal: Terminal, app: str, query: dict[str, str | None], limit: int | None
) -> Iterator["Person"]:
    """Everybody whom `query` finds, page by page as they are asked for, at most `limit`."""
    from admit.cli.replies import People

    key: str | None = None
    left = limit
    while left is None or left > 0:
        size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
        where = target("apps", app, "users", **query, limit=size, paging_key=key)
        page = terminal.call("GET", where, None, People)
        yield from page.users
        if (key := page.paging_key) is None:
            return
        if left is not None:
            left -= len(page.users)
