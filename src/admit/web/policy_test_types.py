"""What the admin API takes and gives when a policy is tried out."""

from typing import Any, Literal

import msgspec

from admit.web.admin_types import NewPolicy, Simulation
from admit.web.endpoint_types import GotAnswer, SentRequest


class NewPolicyTest(Simulation, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody to imagine, and the policy to try, which asks a web hook or a task; None: the one in force."""

    policy: NewPolicy | None = None


class SealedBy(msgspec.Struct, frozen=True, kw_only=True):
    """The TLS of a connection: its version, and until when the receiver's certificate holds (UTC ms)."""

    version: str
    certificate_until: int


class TestAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt. `address` is what the name led to, "" where it never came to that.

    `tls` None: the connection was not sealed, or there was none. `response` None: there was none, and
    `message` says why.
    """

    request: SentRequest
    address: str
    tls: SealedBy | None
    response: GotAnswer | None
    message: str
    duration_ms: int


class TestLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that a task has said."""

    at: int
    level: str
    text: str


class TaskTest(msgspec.Struct, frozen=True, kw_only=True):
    """What a task was told, what it said and returned, and what it would have sent (`GET https://…`)."""

    task: str
    told: dict[str, Any]
    result: Any
    lines: list[TestLine]
    blocked: list[str]


class PolicyTestResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a test, and what it would have meant for a first login.

    `fault`: why there was no answer that counts, so that `on_failure` decided; None: there was one.
    `attempts`: those of a web hook, in order. `task`: None for a web hook.
    """

    outcome: Literal["admit", "refuse"]
    type: Literal["eval", "prod"] | None
    code: str | None
    message: str | None
    reason: str
    fault: str | None
    on_failure: Literal["refuse", "eval"]
    user_id: str
    data: dict[str, Any] | None
    name: str
    attempts_made: int
    attempts_max: int
    duration_ms: int
    timeout_seconds: float
    attempts: list[TestAttempt]
    task: TaskTest | None
