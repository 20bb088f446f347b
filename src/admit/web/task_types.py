"""What the admin API says of tasks, their runs and what these have said. Times are UTC milliseconds."""

from typing import Annotated, Any, Literal

import msgspec

from admit.task.declarations import Kind, Trigger, Verb
from admit.task.wire import Level
from admit.web.admin_types import Moment, Text

AFTER_SECONDS_MAX = 366 * 86_400

RunKind = Literal["event", "call", "schedule", "request", "decision"]
RunState = Literal["waiting", "blocked", "running", "done", "failed", "cancelled"]
TaskState = Literal["ready", "paused", "gone"]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=AFTER_SECONDS_MAX)]


class ProblemView(msgspec.Struct, frozen=True, kw_only=True):
    """Why the code of an app was not taken. `file` is relative to its folder; `line` 0: of no line."""

    file: str
    line: int
    message: str
    traceback: str


class CodeView(msgspec.Struct, frozen=True, kw_only=True):
    """The code of an app as the server that answers has it. `version` is the one that runs, "" where none
    does; with `problems`, what lies in the folder is another, and was not taken."""

    app: str
    version: str
    tasks: list[str]
    problems: list[ProblemView]


class LastRun(msgspec.Struct, frozen=True, kw_only=True):
    """The newest run of a task that has begun, or that waits where none has. `detail` is its last outcome."""

    id: str
    state: RunState
    detail: str
    created_at: int
    finished_at: int | None


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """One task. `about` is the first line of its docstring, `trigger` what it was declared to run on.

    `state`: a paused one has its runs wait; one that is gone is declared no more, and its runs are kept.
    `retries_seconds` None: the server's own pauses; empty: one attempt. `env`: the variables it is given.
    `next_at`: when it runs next by the clock.
    """

    name: str
    id: str
    kind: Kind
    trigger: Trigger
    about: str
    state: TaskState
    file: str
    line: int
    timeout_seconds: float
    retries_seconds: list[float] | None
    at_once: int
    env: list[str]
    version: str
    created_at: int
    changed_at: int
    gone_at: int | None
    next_at: int | None
    last_run: LastRun | None


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks of an app by name, those that are gone last. `code` None: the server that answers loads no
    tasks."""

    tasks: list[TaskView]
    code: CodeView | None


class TaskDetails(TaskView, frozen=True, kw_only=True):
    """A task, and which of its variables are not set."""

    env_missing: list[str]


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable that is set; its value is never shown. `tasks`: the names of those that are given it."""

    name: str
    changed_at: int
    tasks: list[str]


class NewValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The value of a variable."""

    value: Annotated[str, msgspec.Meta(max_length=10_000)]

    def __repr__(self) -> str:
        return "NewValue(…)"


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `state`: waiting ones are due at `next_at`; blocked ones wait for an earlier run for the same
    person. `detail` is the last outcome in a sentence. `by` says who called it: a run, or an actor.
    `user_id` None: it is about nobody, or about somebody who was deleted.
    """

    id: str
    task: str
    kind: RunKind
    state: RunState
    attempts: int
    next_at: int | None
    uid: str | None
    user_id: str | None
    event_id: str | None
    queue: str
    by: str
    detail: str
    created_at: int
    finished_at: int | None


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some runs, the newest first. `before`: what to ask for next; None: there is nothing older.

    A page may be short, or empty, and have more behind it, where few fit.
    """

    runs: list[RunView]
    before: str | None


class RunAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try. `outcome` is a word for programs, `detail` a sentence for people with the place in the code,
    `result` the JSON that the task returned, cut off; of one that failed, `traceback` tells where."""

    attempt: int
    started_at: int
    duration_ms: int
    outcome: str
    detail: str
    result: str
    traceback: str


class RunHistory(RunView, frozen=True, kw_only=True):
    """A run with its attempts, the first one first. `about`: the ids of what it is about, such as an event,
    an admission, a session, or `device:IDENTIFIER`. What it has said is in …/lines?run=ID.

    `parameters`: what it was called with. `scheduled_at`: the time by the clock that it is for.
    """

    history: list[RunAttempt]
    about: list[str]
    parameters: dict[str, Any] | None
    scheduled_at: int | None


class LineView(msgspec.Struct, frozen=True, kw_only=True):
    """A line that a run has said. `cursor`: ask for what comes behind it. `at` is the time in the task."""

    cursor: str
    run: str
    task: str
    attempt: int
    at: int
    level: Level
    text: str
    fields: dict[str, Any]


class LinePage(msgspec.Struct, frozen=True, kw_only=True):
    """The next lines. `cursor`: what to ask for next time; `more`: something is behind it already."""

    lines: list[LineView]
    cursor: str
    more: bool


class NewRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call of a task: at once, `after_seconds`, or `at` a time. In a `queue` runs never overlap; None: the
    task's own.

    What is called by its name is given `parameters`, what runs on events the `event` of an id, which is
    recorded; what runs on a schedule is given nothing.
    """

    parameters: dict[str, Any] | None = None
    event: Text | None = None
    after_seconds: Seconds = 0
    at: Moment | None = None
    queue: Text | None = None


class RehearsedDevice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the imagined person signs in."""

    identifier: Text
    label: Text = ""
    platform: Text = ""
    model: Text = ""
    bundle_id: Text = ""
    app_version: Text = ""
    runtime_version: Text = ""


class RehearsedDecision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An imagined person at the door. `user_id` None: the email."""

    email: Text
    user_id: Text | None = None
    email_verified: bool = True
    name: Text = ""
    method: Text = "email_code"
    provider: Text = ""
    device: RehearsedDevice | None = None
    claims: dict[str, Any] = {}
    address: Text = ""


class RehearsedRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An imagined request. `user`: who has sent it, as their access token would say."""

    method: Verb | None = None
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    json: Any = msgspec.UNSET
    body: str = ""
    user: Text | None = None
    scopes: tuple[Text, ...] = ("ACCESS_DB",)


class NewRehearsal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the task is given, by its kind; no more than one of these.

    `event`: the id of a recorded one; `type`: an example of one, which is the default. `scheduled_at`: now,
    unless told.
    """

    parameters: dict[str, Any] | None = None
    event: Text | None = None
    type: Text | None = None
    decision: RehearsedDecision | None = None
    request: RehearsedRequest | None = None
    scheduled_at: Moment | None = None


class WouldChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change that was not made. `what`: write_user, lock_user, unlock_user; lock, unlock, wipe or
    reauthenticate of a session; put_object or delete_object. `entry` as in POST /users, or the object.

    `table`, `realm`, `key`: of an object.
    """

    what: str
    user_id: str = ""
    session_id: str = ""
    table: str = ""
    realm: str = ""
    key: str = ""
    entry: dict[str, Any] = {}


class WouldCall(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was not begun."""

    task: str
    parameters: dict[str, Any]
    due_at: int
    queue: str


class WouldSend(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was not sent."""

    method: str
    url: str


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would have done; nothing of it is kept. `outcome`: ok, or what attempts say of a failure.

    `error` is "" where it went well, else a sentence with the place in the code.
    """

    outcome: str
    result: Any
    error: str
    traceback: str
    duration_ms: int
    lines: list[LineView]
    changes: list[WouldChange]
    calls: list[WouldCall]
    requests: list[WouldSend]
