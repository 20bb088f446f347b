"""How tasks and runs are told on pages: when a task runs, how a run stands, what it is about. Pure."""

from datetime import UTC, datetime
from typing import assert_never
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec

from admit.task.declarations import Called, Decides, Every, Http, Kind, On, Trigger
from admit.web.manager import words
from admit.web.task_types import RunHistory, RunState, TaskView, WouldChange

KINDS: tuple[tuple[Kind, str, str], ...] = (
    ("on", "On events", "Each runs after events, in the order of each person."),
    (
        "every",
        "By the clock",
        "Each runs at the times of a cron expression. A time that was missed is run once.",
    ),
    ("http", "HTTP", "Each answers requests to its own address."),
    ("decides", "At the door", "A policy may ask one of these who may come in."),
    ("called", "When called", "Each runs when you call it, or another task does."),
)
TONES: dict[RunState, str] = {
    "waiting": "warn",
    "blocked": "warn",
    "running": "good",
    "done": "good",
    "failed": "bad",
    "cancelled": "",
}
STATES: dict[RunState, str] = {
    "waiting": "Waiting",
    "blocked": "Blocked",
    "running": "Running",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
ENDED: frozenset[RunState] = frozenset({"done", "failed", "cancelled"})
LEVELS = {"warning": "warn", "error": "bad"}
OWN_RETRIES = "5 s, 1 min, 10 min, 1 h, 6 h"
PARTS = {"evt": ("event", "events"), "adm": ("decision", "policy/ledger")}


class Link(msgspec.Struct, frozen=True):
    """What a run is about: a word, the id, and the parts of the path to its page, if it has one."""

    what: str
    id: str
    path: tuple[str, ...] = ()


def when(trigger: Trigger) -> str:
    """When a task runs, as code: event types, a cron expression, a path."""
    match trigger:
        case On():
            return ", ".join(trigger.types)
        case Every():
            return trigger.cron
        case Http():
            return f"{' '.join(trigger.methods)} {trigger.path}"
        case Decides():
            return "to decide"
        case Called():
            return "when called"
        case _:
            assert_never(trigger)


def conditions(trigger: Trigger) -> list[tuple[str, str]]:
    """What else must hold for a task to run, as label and value."""
    if not isinstance(trigger, On):
        return []
    told = [
        ("At most once per", "" if trigger.once == "enrollment" else trigger.once),
        ("Only users of type", ", ".join(trigger.user_types)),
        ("Only sign-ins by", ", ".join(trigger.methods)),
        ("Only emails at", ", ".join(trigger.email_domains)),
        (
            "Only where",
            ", ".join(f"{path} = {msgspec.json.encode(v).decode()}" for path, v in trigger.equals),
        ),
    ]
    return [each for each in told if each[1]]


def retries(task: TaskView) -> str:
    """The pauses between the attempts of a run."""
    if task.kind in ("decides", "http"):
        return "Never by itself"
    if task.retries_seconds is None:
        return OWN_RETRIES
    return ", ".join(words.duration(each * 1_000) for each in task.retries_seconds) or "Never"


def in_zone(ms: int, trigger: Trigger) -> str:
    """A time as the clock of the task's zone shows it: `07:00 Europe/Berlin`; "" where that is UTC."""
    if not isinstance(trigger, Every) or trigger.timezone == "UTC":
        return ""
    at = datetime.fromtimestamp(ms / 1_000, UTC).astimezone(ZoneInfo(trigger.timezone))
    return f"{at:%a} {at.day} {at:%b, %H:%M} {trigger.timezone}"


def http_address(task: TaskView, public_url: str, app: str) -> str:
    """Where a task answers requests; "" for one that answers none."""
    if not isinstance(task.trigger, Http):
        return ""
    return f"{public_url}/{quote(app)}/tasks{task.trigger.path}"


def about(run: RunHistory) -> list[Link]:
    """What a run is about, the event first."""
    found = [_link(each) for each in run.about if each != run.event_id]
    return ([_link(run.event_id)] if run.event_id else []) + found


def took(run: RunHistory) -> int | None:
    """How long the last attempt took, in milliseconds; None: there was none."""
    return run.history[-1].duration_ms if run.history else None


def sentence(detail: str) -> str:
    """The last outcome as a sentence, so that another can follow it."""
    return detail if not detail or detail[-1] in ".!?" else f"{detail}."


def standing(run: RunHistory) -> str:
    """What changes when what is shown of how a run stands does."""
    return f"{run.state}.{run.attempts}.{len(run.history)}"


def change(told: WouldChange) -> str:
    """A change that was not made, in words: `write user ada@example.com`."""
    whose = told.user_id or told.session_id or f"{told.key} of {told.table} in {told.realm}"
    return f"{told.what.replace('_', ' ').capitalize()} {whose}"


def _link(about_id: str) -> Link:
    prefix, _, rest = about_id.partition("_")
    if prefix in PARTS:
        word, folder = PARTS[prefix]
        return Link(word, about_id, (*folder.split("/"), about_id))
    if about_id.startswith("device:"):
        return Link("device", about_id.removeprefix("device:"))
    return Link({"ses": "session", "tsk": "task"}.get(prefix, prefix) if rest else "about", about_id)
