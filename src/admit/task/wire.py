"""What the server and a worker process of tasks say to each other.

A frame is a length of four bytes, the most significant first, and so many bytes of msgpack. A process is
given its code once (Load), then one run after the other (Begin). While a run goes on it may ask (Ask), and is
answered (Answer) before it asks again; it ends with Ended, Declined or Raised.
"""

import struct
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from admit.task.declarations import Declaration, Problem
from admit.task.payloads import Payload, Run

FRAME_BYTES_MAX = 16_000_000
LENGTH = struct.Struct(">I")

Level = Literal["debug", "info", "warning", "error"]
Move = Literal["lock", "unlock", "wipe", "reauthenticate"]
Moment = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
"""UTC ms. Bounded, since a process that lies would have a number written that no column takes."""


# The server says


class Source(msgspec.Struct, frozen=True):
    """A file of Python: its path below the folder of the app, with /, and what is in it."""

    path: str
    text: bytes


class Load(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="load"):
    """The code of an app. `folder` is where it lies, as tracebacks show it. `memory_bytes`: the process gets
    no more; `nice`: how much it stands back behind others."""

    app: str
    folder: str
    sources: tuple[Source, ...]
    memory_bytes: int
    nice: int = 0


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="begin"):
    """Run a task once. `authenticate_only`: of an HTTP task, only ask whether the request may come in."""

    run: Run
    payload: Payload
    env: Mapping[str, str]
    authenticate_only: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="answer"):
    """What came of an Ask. `error`: a sentence instead of it, which is raised in the task."""

    value: Any = None
    error: str = ""


ToWorker = Load | Begin | Answer


# The process asks


class UserRow(msgspec.Struct, frozen=True, kw_only=True):
    """A user as tasks see one. Times are UTC milliseconds, `valid_until` None for no end; `data` is JSON.

    `version` changes with every change of what stands here.
    """

    uid: str
    user_id: str
    email: str
    email_verified: bool
    name: str
    type: str
    data: bytes | None
    created_at: int
    updated_at: int
    last_login_at: int | None
    valid_until: int | None
    eval_days_left: int
    deactivated_at: int | None
    locked_at: int | None
    way_in: str
    version: str


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A device of a user."""

    identifier: str
    derived: bool
    label: str
    platform: str
    first_seen: int
    last_seen: int


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A session of a user. `state`: ENROLLED, LOCKED or RESET. `version` as for users."""

    session_id: str
    user_id: str
    device: str
    ordinal: int
    state: str
    created_at: int
    last_authenticated_at: int
    last_connected_at: int | None
    signed_out_at: int | None
    version: str


class FindUser(msgspec.Struct, frozen=True, tag_field="kind", tag="find_user"):
    """Answered by a UserRow, or None."""

    user_id: str


class PageOfUsers(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="page_of_users"):
    """Answered by a UsersFound. `search` as in GET /users; `type` "" means any."""

    search: str = ""
    type: str = ""
    active: bool | None = None
    limit: int = 100
    after: str = ""


class UsersFound(msgspec.Struct, frozen=True):
    """A page; `after` is where the next one begins, "" on the last."""

    users: tuple[UserRow, ...]
    after: str


class DevicesOf(msgspec.Struct, frozen=True, tag_field="kind", tag="devices_of"):
    """Answered by DeviceRows, the newest first, at most 1,000."""

    user_id: str


class SessionsOf(msgspec.Struct, frozen=True, tag_field="kind", tag="sessions_of"):
    """Answered by SessionRows, the newest first, at most 1,000. `state` "" means any."""

    user_id: str
    state: str = ""


class FindSession(msgspec.Struct, frozen=True, tag_field="kind", tag="find_session"):
    """Answered by a SessionRow, or None."""

    session_id: str


class Fetch(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="fetch"):
    """A request to the outside, answered by a Fetched; what cannot be had is an error."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    timeout_seconds: float = 10.0


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered, whatever the status. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool = False


class ObjectRow(msgspec.Struct, frozen=True, kw_only=True):
    """A place for an object, and what is there: JSON, or None.

    `realm_id` and `key` as clients have them, `realm` as it is kept. `version` changes with every change of
    the object; "" means that there is none.
    """

    table: str
    realm: str
    realm_id: str
    key: str
    version: str
    value: bytes | None = None


class FindObject(msgspec.Struct, frozen=True, tag_field="kind", tag="find_object"):
    """Answered by an ObjectRow. `realm_id` "": wherever it is; then None where it is nowhere."""

    table: str
    realm_id: str
    key: str


class PlaceObject(msgspec.Struct, frozen=True, tag_field="kind", tag="place_object"):
    """Where an object would be put, and as what; answered by a Placed. `key` "": the one that it carries, or
    that the table makes. `value` is JSON."""

    table: str
    realm_id: str
    key: str
    value: bytes


class Placed(msgspec.Struct, frozen=True):
    """What is there now, and the object with its key, realm and owner, in JSON."""

    before: ObjectRow
    value: bytes


class PageOfObjects(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="page_of_objects"):
    """Answered by an ObjectsFound. `realm_id` "": of all realms. `after`: realm, as it is kept, and key; a
    realm "" is the one that was asked for."""

    table: str
    realm_id: str = ""
    after: tuple[str, str] | None = None
    limit: int = 100


class ObjectsFound(msgspec.Struct, frozen=True):
    """A page in the order of realm and key; `after` is where the next one begins, None on the last.

    `realm_id`: the realm that was asked for, as it is spelt.
    """

    objects: tuple[ObjectRow, ...]
    after: tuple[str, str] | None
    realm_id: str = ""


Question = (
    FindUser
    | PageOfUsers
    | DevicesOf
    | SessionsOf
    | FindSession
    | FindObject
    | PlaceObject
    | PageOfObjects
    | Fetch
)


# The process says


class Loaded(msgspec.Struct, frozen=True, tag_field="kind", tag="loaded"):
    """The code is there, with these tasks."""

    tasks: tuple[Declaration, ...]


class Broken(msgspec.Struct, frozen=True, tag_field="kind", tag="broken"):
    """The code cannot be taken."""

    problems: tuple[Problem, ...]


class Said(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="said"):
    """A line of the run's log. `at` is UTC milliseconds; `fields` are texts, numbers, booleans or null."""

    at: Moment
    level: Level
    text: str
    fields: Mapping[str, Any] = {}


class Ask(msgspec.Struct, frozen=True, tag_field="kind", tag="ask"):
    """The run waits for an Answer."""

    question: Question


class WriteUser(msgspec.Struct, frozen=True, tag_field="kind", tag="write_user"):
    """`entry` is one of POST /users, in JSON. `version` is that of the row which the task has read; "" means
    that there was nobody, and that the user is created."""

    user_id: str
    version: str
    entry: bytes


class LockUser(msgspec.Struct, frozen=True, tag_field="kind", tag="lock_user"):
    """Lock the user out of every device, or let them in again."""

    user_id: str
    version: str
    locked: bool


class MoveSession(msgspec.Struct, frozen=True, tag_field="kind", tag="move_session"):
    """Lock, unlock, wipe or re-authenticate one session."""

    session_id: str
    version: str
    move: Move


class PutObject(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="put_object"):
    """`value` is the whole object, in JSON; the rest as in ObjectRow. `version` "": there was none."""

    table: str
    realm: str
    realm_id: str
    key: str
    version: str
    value: bytes


class DeleteObject(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="delete_object"):
    """Take the object away. `version` is never ""."""

    table: str
    realm: str
    realm_id: str
    key: str
    version: str


Change = WriteUser | LockUser | MoveSession | PutObject | DeleteObject


class NewCall(msgspec.Struct, frozen=True, kw_only=True):
    """Another run that shall be. `run_id` is the same at every attempt of this run. `due_at` in UTC ms.

    In a `queue` runs never overlap; "" is the task's own.
    """

    run_id: str
    task: str
    parameters: bytes
    due_at: Moment
    queue: str = ""


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="ended"):
    """It returned. `result` is JSON; `changes` and `calls` are to be committed with the completion."""

    result: bytes
    changes: tuple[Change, ...] = ()
    calls: tuple[NewCall, ...] = ()


class Declined(msgspec.Struct, frozen=True, tag_field="kind", tag="declined"):
    """`authenticate` did not say yes."""


class Raised(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="raised"):
    """It raised. `place` is file:line in the operator's code, "" where there is none."""

    error: str
    message: str
    place: str
    traceback: str


class Leaving(msgspec.Struct, frozen=True, tag_field="kind", tag="leaving"):
    """Said before a run ends: it has left threads or processes behind, so this process is not to be used
    again."""


FromWorker = Loaded | Broken | Said | Ask | Leaving | Ended | Declined | Raised
