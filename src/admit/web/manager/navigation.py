"""The way around: the groups of pages in the side, their icons and keys, and the scope that opens each."""

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """A page in the side. `name` is what page modules call it; `key`: G and then it opens the page."""

    name: str
    label: str
    path: str
    icon: str
    scope: str
    key: str


class Group(msgspec.Struct, frozen=True):
    """Entries under a heading; "": under none."""

    heading: str
    entries: tuple[Entry, ...]


IN_APP = (
    Group(
        "",
        (
            Entry("overview", "Overview", "", "home", "apps:read", "o"),
            Entry("policy", "Policy for new users", "/policy", "policy", "apps:read", "p"),
            Entry("people", "People", "/people", "people", "users:read", "u"),
        ),
    ),
    Group(
        "What happens",
        (
            Entry("events", "Events", "/events", "event", "events:read", "e"),
            Entry("endpoints", "Web hooks", "/endpoints", "hook", "webhooks:read", "w"),
            Entry("tasks", "Tasks", "/tasks", "task", "tasks:read", "t"),
            Entry("data", "Data", "/data", "data", "data:read", "d"),
        ),
    ),
    Group(
        "Set up",
        (
            Entry("sign-in", "Sign-in and mail", "/sign-in", "key", "apps:read", "s"),
            Entry("clients", "API clients", "/clients", "door", "apps:read", "c"),
            Entry("changes", "Changes by operators", "/changes", "audit", "audit:read", "h"),
            Entry("settings", "Settings", "/settings", "set", "apps:read", ","),
        ),
    ),
)
"""Below /manager/apps/APP."""

OF_THE_HOUSE = (
    Group(
        "",
        (
            Entry("apps", "Apps", "/apps", "door", "apps:read", "a"),
            Entry("operators", "Operators", "/operators", "people", "operators:read", "m"),
            Entry("tokens", "Operator tokens", "/tokens", "key", "tokens:read", "k"),
            Entry("house-changes", "Changes by operators", "/changes", "audit", "audit:read", "h"),
        ),
    ),
)
"""Below /manager: what belongs to no app."""


def visible(groups: tuple[Group, ...], scopes: frozenset[str]) -> list[Group]:
    """The groups with the entries that an operator with `scopes` can open."""
    shown = [Group(each.heading, tuple(e for e in each.entries if e.scope in scopes)) for each in groups]
    return [each for each in shown if each.entries]
