"""What stands in the files of `dexie-cloud export` and `import`: lines of JSON, or one JSON object. Pure.

Such files hold rows of tables by realm. Users are told as rows of a table that no client can have: tables
whose name begins with `$` are never synced. Demo users have a place of their own, by userId.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from admit.accounts.user_edits import ToldUser, UserChange
from admit.accounts.users import NEVER, User
from admit.clock import iso_date
from admit.data.object_pages import Row
from admit.data.table_settings import TableSetting
from admit.data.values import read_json
from admit.errors import InvalidRequest
from admit.web.not_built_api import no_realms
from admit.web.operations import PROBLEM_CHARACTERS_MAX, decode, refuse_nul
from admit.web.row_access import TABLES_OF_REALMS

USERS = "$users"
"""The realm and the table of users."""

ROLES = b'{"type":"roles","roles":{}}\n'
"""What stands in every export: we have no roles."""
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


class TableRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A table in a file, as the addon has it in `db.cloud.schema`. Other members are passed over."""

    primary_key: str = "id"
    id_prefix: str = ""
    generated_global_id: bool = False


class ObjectRow(msgspec.Struct, frozen=True):
    """A row of a table in a file."""

    realm_id: str
    table: str
    key: str
    value: dict[str, Any]
    size: int


Told = UserChange | TableSetting | ObjectRow


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line: a row, or what its `type` says. Members that others write are passed over."""

    type: str | UnsetType = UNSET
    realm: str = ""
    table: str = ""
    id: Any = None
    data: msgspec.Raw | UnsetType = UNSET
    tables: dict[str, TableRow | str] = {}
    roles: dict[str, Any] | None = None
    users: dict[str, UserRow] = {}


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One object with everything, as `dexie-cloud export --legacy` writes it and people write it by hand."""

    schema: dict[str, TableRow | str] | None = None
    roles: dict[str, Any] | None = None
    demo_users: dict[str, UserRow] = msgspec.field(name="demoUsers", default_factory=dict)
    data: dict[str, dict[str, dict[str, msgspec.Raw]]] = {}


def head(tables: Iterable[TableSetting]) -> bytes:
    """What stands in front of every export: the tables that are known, and the roles."""
    told = {
        each.name: TableRow(
            primary_key=each.primary_key, id_prefix=each.id_prefix, generated_global_id=each.generated
        )
        for each in tables
    }
    return b'{"type":"schema","tables":' + msgspec.json.encode(told) + b',"sealed":false}\n' + ROLES


def demo_users(people: Iterable[User], *, first: bool) -> bytes:
    """A piece of the line of all demo users, which readers want in one: between DEMO_BEGIN and DEMO_END."""
    pairs = b",".join(msgspec.json.encode(user.user_id) + b":" + _row(user) for user in people)
    return pairs if first or not pairs else b"," + pairs


def row_line(user: User) -> bytes:
    """The line of a user."""
    user_id = msgspec.json.encode(user.user_id)
    return b'{"realm":"$users","table":"$users","id":' + user_id + b',"data":' + _row(user) + b"}\n"


def object_line(row: Row, realm_id: str) -> bytes:
    """The line of an object, in the realm that is called so."""
    where = {"realm": realm_id, "table": row.table, "id": row.key}
    return msgspec.json.encode(where)[:-1] + b',"data":' + (row.value or "").encode() + b"}\n"


def told_in_line(text: bytes) -> list[Told]:
    """What a line tells. Raises InvalidRequest, and NotBuilt for what we do not keep."""
    line = _read(text, Line)
    match line.type:
        case "schema":
            return list(_tables(line.tables))
        case "roles":
            if line.roles:
                raise no_realms()
            return []
        case "demoUsers":
            refuse_nul(text)
            return [_demo(user_id, row) for user_id, row in line.users.items()]
        case str() as other if not line.table:
            raise InvalidRequest(f"A line of the type {other[:40]!r} is not known.")
    row = b"{}" if line.data is UNSET else bytes(line.data)
    return [_told(line.realm, line.table, line.id, row)]


def told_in_file(text: bytes) -> list[Told]:
    """What a file of one object tells: tables, then people, then rows. Raises as `told_in_line` does."""
    file = _read(text, File)
    if file.roles:
        raise no_realms()
    if file.demo_users:
        refuse_nul(text)
    demo = [_demo(user_id, row) for user_id, row in file.demo_users.items()]
    rows = [
        _told(realm, table, key, bytes(row))
        for realm, tables in file.data.items()
        for table, by_key in tables.items()
        for key, row in by_key.items()
    ]
    people = [each for each in rows if isinstance(each, UserChange)]
    objects = [each for each in rows if not isinstance(each, UserChange)]
    return [*_tables(file.schema or {}), *demo, *people, *objects]


def _told(realm: str, table: str, key: Any, row: bytes) -> UserChange | ObjectRow:
    if table == USERS:
        if not isinstance(key, str) or "\0" in key:
            raise InvalidRequest("The id of a user is a text.")
        return decode(row, UserRow).change(key)
    if table in TABLES_OF_REALMS:
        raise no_realms()
    value = read_json(row)
    if not isinstance(value, dict):
        raise InvalidRequest("The data of a row is an object.")
    if isinstance(key, list):
        key = msgspec.json.encode(key).decode()
    if not isinstance(key, str):
        raise InvalidRequest("The id of a row is a text, or an array.")
    return ObjectRow(realm, table, key, value, len(row))


def _tables(told: Mapping[str, TableRow | str]) -> Iterator[TableSetting]:
    """The tables of a file, without those that every client has. Of a text the first word counts."""
    for name, row in told.items():
        if name.startswith("$") or name in TABLES_OF_REALMS:
            continue
        if isinstance(row, str):
            key = row.partition(",")[0].strip()
            yield TableSetting(name=name, primary_key=key.lstrip("@&+"), generated=key.startswith("@"))
        else:
            yield TableSetting(
                name=name,
                primary_key=row.primary_key,
                id_prefix=row.id_prefix,
                generated=row.generated_global_id,
            )


def _demo(user_id: str, row: UserRow) -> UserChange:
    change = row.change(user_id)
    return msgspec.structs.replace(change, type="demo" if change.type is UNSET else change.type)


def _read(text: bytes, kind: Any) -> Any:
    """Reads a line or a file. What rows hold is looked at apart: texts in objects may hold anything."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            f"The body is not JSON as it should be: {error}"[:PROBLEM_CHARACTERS_MAX]
        ) from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


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
