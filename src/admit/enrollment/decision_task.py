"""Asking the operator's task about one unknown person, as a web hook would be asked.

The room that runs tasks is not known here: who joins the two hands over something that begins runs.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import asdict

from admit.accounts import devices
from admit.accounts.apps import App
from admit.enrollment.asking import Try
from admit.enrollment.policy import Fault, Verdict
from admit.enrollment.task_reply import read_result
from admit.jobs.lines import NewLine
from admit.signin.proof import Proof
from admit.storage.transaction import Transaction
from admit.task.payloads import AskedDevice, Decision, SignedIn

NO_TASKS = "This server runs no tasks: its setting TASKS is empty."


class Tried(Protocol):
    """What came of running the task once. Without a `result` (JSON), `detail` says in a sentence why there is
    none, and `again` whether another try may help."""

    @property
    def result(self) -> bytes | None: ...

    @property
    def detail(self) -> str: ...

    @property
    def again(self) -> bool: ...


class DecisionRun(Protocol):
    """A run of a task about one person, tried as often as it takes."""

    async def attempt(self, timeout_seconds: float) -> Tried:
        """Runs the task once, within that time."""
        ...

    def note(self, tx: Transaction, uid: str | None, fault: str, *, in_time: bool) -> None:
        """Writes the run with its attempts and lines. `fault`: what was wrong with its answer, "" if none."""
        ...


class DecisionRehearsal(DecisionRun, Protocol):
    """A run in test mode: it sends nothing, and nothing of it is kept. `result` is that of the last attempt,
    `blocked` what it would have sent."""

    @property
    def result(self) -> bytes | None: ...

    @property
    def lines(self) -> Sequence[NewLine]: ...

    @property
    def blocked(self) -> Sequence[str]: ...


class TaskDecider(Protocol):
    """Whatever runs the operator's tasks."""

    def begin(self, app: App, task: str, decision: Decision, earlier: int) -> DecisionRun:
        """A run about the person of `decision`, of which others may have made `earlier` attempts."""
        ...

    def rehearse(self, app: App, task: str, decision: Decision) -> DecisionRehearsal:
        """A run in test mode about the person of `decision`, who is imagined."""
        ...


class TaskAsked:
    """The operator's task, asked about one person."""

    def __init__(self, run: DecisionRun, task: str) -> None:
        self._run = run
        self._task = task

    async def attempt(self, timeout_seconds: float) -> Try:
        """Runs the task once."""
        tried = await self._run.attempt(timeout_seconds)
        if tried.result is None:
            return Try(outcome=Fault(tried.detail), again=tried.again)
        return Try(outcome=read_result(tried.result, self._task))

    def record(self, outcome: Verdict | Fault) -> "RunRecord":
        """The run, which operators may look at like any other."""
        return RunRecord(self._run, outcome.reason if isinstance(outcome, Fault) else "")


class RunRecord:
    """A run that has been asked for a decision, to be committed with the verdict."""

    def __init__(self, run: DecisionRun, fault: str) -> None:
        self._run = run
        self._fault = fault

    def write(self, tx: Transaction, uid: str | None, *, in_time: bool) -> None:
        """Writes it with its attempts and lines."""
        self._run.note(tx, uid, self._fault, in_time=in_time)


class NobodyAsked:
    """In the place of a task that cannot be asked here."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def attempt(self, timeout_seconds: float) -> Try:
        """Fails at once."""
        return Try(outcome=Fault(self._reason))

    def record(self, outcome: Verdict | Fault) -> None:
        """The ledger says all there is to say."""


def decision_of(proof: Proof, admission_id: str) -> Decision:
    """What a task is told about who is at the door."""
    return Decision(
        admission_id=admission_id,
        user_id=proof.user_id,
        email=proof.email,
        email_verified=proof.email_verified,
        name=proof.name,
        sign_in=SignedIn(method=proof.sign_in.method, provider=proof.sign_in.provider, intent=proof.intent),
        device=_device_of(proof),
        claims=proof.claims,
        address=proof.address,
    )


def _device_of(proof: Proof) -> AskedDevice | None:
    if proof.public_key is None:
        return None
    identifier, derived = devices.identify(proof.device, proof.public_key)
    return AskedDevice(
        identifier=identifier, derived=derived, label=proof.device.label, **asdict(proof.device.about)
    )
