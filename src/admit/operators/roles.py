"""What operators may do, by their role. Pure."""

from typing import Literal, get_args

Role = Literal["owner", "admin", "support", "read-only"]

ROLES: tuple[Role, ...] = get_args(Role)
SCOPES = frozenset(
    {
        "apps:read",
        "apps:write",
        "audit:read",
        "data:read",
        "data:write",
        "users:read",
        "users:write",
        "secrets:read",
        "sessions:read",
        "sessions:write",
        "events:read",
        "operators:read",
        "operators:write",
        "tasks:read",
        "tasks:write",
        "webhooks:read",
        "webhooks:write",
        "tokens:read",
        "tokens:write",
    }
)
"""All there are. `secrets:read` lets see a secret that is stored readable, beside the scope of its place."""

_SUPPORT = frozenset(
    {
        "apps:read",
        "data:read",
        "events:read",
        "sessions:read",
        "sessions:write",
        "tasks:read",
        "users:read",
        "users:write",
        "webhooks:read",
        "webhooks:write",
    }
)
_CONFIDENTIAL = frozenset({"operators:read", "secrets:read", "tokens:read"})
_SCOPES: dict[Role, frozenset[str]] = {
    "owner": SCOPES,
    "admin": SCOPES - {"operators:write"},
    "support": _SUPPORT,
    "read-only": frozenset(each for each in SCOPES if each.endswith(":read")) - _CONFIDENTIAL,
}


def scopes_of(role: Role) -> frozenset[str]:
    """What an operator of `role` may do, in every app."""
    return _SCOPES[role]
