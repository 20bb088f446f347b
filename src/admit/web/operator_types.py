"""What the admin API takes and gives of operators. Times are UTC milliseconds."""

from typing import Annotated

import msgspec

from admit.operators.roles import Role
from admit.operators.sessions import Method
from admit.web.admin_types import Text

Email = Annotated[str, msgspec.Meta(max_length=320)]


class OperatorView(msgspec.Struct, frozen=True, kw_only=True):
    """An operator. `joined_at` null: invited, and has not come yet; `passkeys`: how many they have."""

    operator_id: str
    email: str
    name: str
    role: Role
    has_password: bool
    passkeys: int
    created_at: int
    joined_at: int | None
    deactivated_at: int | None


class NewOperator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody to invite."""

    email: Email
    role: Role


class NewRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The role that an operator is to have."""

    role: Role


class OperatorLink(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time link, which is shown this once: whoever opens it becomes able to sign in as the operator."""

    operator: OperatorView
    link: str
    expires_at: int


class OperatorSessionsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose sessions. `operator`: an id or an email; without it, everybody's."""

    operator: Text | None = None


class OperatorSessionView(msgspec.Struct, frozen=True, kw_only=True):
    """One browser in which an operator is signed in."""

    session_id: str
    operator_id: str
    email: str
    method: Method
    address: str
    user_agent: str
    created_at: int
    seen_at: int


class SessionsEnded(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions have ended."""

    ended: int
