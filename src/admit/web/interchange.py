"""Users in the files of `dexie-cloud export` and `import`: lines of JSON, or one JSON object. Pure.

Such files hold rows of tables by realm. Users are told as rows of a table that no client can have: tables
whose name begins with `$` are never synced. Demo users have a place of their own, by userId.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from admit.accounts.user_edits import ToldUser, UserChange
from admit.accounts.users import NEVER, User
from admit.clock import iso_date
from admit.errors import InvalidRequest
from admit.web.not_built_api import no_realms, no_tables
from admit.web.operations import decode

USERS = "$users"
"""The realm and the table of users."""

HEAD = b'{"type":"schema","tables":{},"sealed":false}\n{"type":"roles","roles":{}}\n'
"""What stands in front of every export: we have neither tables nor roles."""
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
DEMO_BEGIN, DEMO_END = b'{"type":"demoUsers","users":{', b"}}\n"


class UserRow(ToldUser, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A user in a file. The userId stands beside the row, and may stand in it."""

    user_id: str = ""

    def change(self, user_id: str) -> UserChange:
        """What is to be made of the user with this userId. Raises InvalidRequest for a row of another."""
        if self.user_id not in ("", user_id):
            raise InvalidRequest(f"The row of {user_id[:80]!r} is one of {self.user_id[:80]!r}.")
        return super().change(user_id)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line: a row, or what its `type` says. Members that others write are passed over."""

    type: str | UnsetType = UNSET
    realm: str = ""
    table: str = ""
    id: Any = None
    data: msgspec.Raw | UnsetType = UNSET
    tables: dict[str, Any] = {}
    roles: dict[str, Any] | None = None
    users: dict[str, UserRow] = {}


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One object with everything, as `dexie-cloud export --legacy` writes it and people write it by hand."""

    schema: dict[str, Any] | None = None
    roles: dict[str, Any] | None = None
    demo_users: dict[str, UserRow] = msgspec.field(name="demoUsers", default_factory=dict)
    data: dict[str, dict[str, dict[str, msgspec.Raw]]] = {}


def demo_users(people: Iterable[User], *, first: bool) -> bytes:
    """A piece of the line of all demo users, which readers want in one: between DEMO_BEGIN and DEMO_END."""
    pairs = b",".join(msgspec.json.encode(user.user_id) + b":" + _row(user) for user in people)
    return pairs if first or not pairs else b"," + pairs


def row_line(user: User) -> bytes:
    """The line of a user."""
    user_id = msgspec.json.encode(user.user_id)
    return b'{"realm":"$users","table":"$users","id":' + user_id + b',"data":' + _row(user) + b"}\n"


def changes_in_line(text: bytes) -> list[UserChange]:
    """The users that a line tells. Raises InvalidRequest, and NotBuilt for what we do not keep."""
    line = decode(text, Line)
    match line.type:
        case "schema":
            if line.tables:
                raise no_tables()
            return []
        case "roles":
            if line.roles:
                raise no_realms()
            return []
        case "demoUsers":
            return [_demo(user_id, row) for user_id, row in line.users.items()]
        case str() as other if not line.table:
            raise InvalidRequest(f"A line of the type {other[:40]!r} is not known.")
    if line.table != USERS:
        raise no_tables()
    if not isinstance(line.id, str):
        raise InvalidRequest("The id of a user is a text.")
    row = b"{}" if line.data is UNSET else bytes(line.data)
    return [decode(row, UserRow).change(line.id)]


def changes_in_file(text: bytes) -> list[UserChange]:
    """The users that a file of one object tells. Raises as `changes_in_line` does."""
    file = decode(text, File)
    if file.roles:
        raise no_realms()
    others = [
        table for tables in file.data.values() for table, rows in tables.items() if table != USERS and rows
    ]
    if file.schema or others:
        raise no_tables()
    rows: Mapping[str, msgspec.Raw] = file.data.get(USERS, {}).get(USERS, {})
    changes = [decode(bytes(row), UserRow).change(user_id) for user_id, row in rows.items()]
    return [*(_demo(user_id, row) for user_id, row in file.demo_users.items()), *changes]


def _demo(user_id: str, row: UserRow) -> UserChange:
    change = row.change(user_id)
    return msgspec.structs.replace(change, type="demo" if change.type is UNSET else change.type)


def _row(user: User) -> bytes:
    row = msgspec.json.encode(
        {
            "userId": user.user_id,
            "type": user.type,
            "validUntil": None if user.valid_until == NEVER else iso_date(user.valid_until),
            "evalDaysLeft": user.eval_days_left,
            "deactivated": None if user.deactivated_at is None else iso_date(user.deactivated_at),
            "data": user.data,
            "email": user.email,
            "name": user.name,
            "created": iso_date(user.created_at),
            "updated": iso_date(user.updated_at),
            "lastLogin": iso_date(user.last_login_at) if user.last_login_at else None,
        }
    )
    # Data is kept as it came, with its breaks between members. Inside a text of JSON there are none.
    return row.translate(_ONE_LINE)
