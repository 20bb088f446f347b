"""What the overview of an app says. Times are UTC milliseconds."""

from typing import Annotated, Literal

import msgspec

from admit.enrollment.hours import Answered, Decided
from admit.jobs.failures import Failed
from admit.webhooks.endpoints import State
from admit.webhooks.figures import Figures

DAYS_MAX = 90

Code = Literal[
    "endpoint_disabled",
    "endpoint_failing",
    "hook_failing",
    "hook_slow",
    "mails_failed",
    "no_origin",
    "runs_failed",
    "seats_few",
    "seats_full",
]


class OverviewQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many days back: 1 is told by the hour, more by the day."""

    days: Annotated[int, msgspec.Meta(ge=1, le=DAYS_MAX)] = 7


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an operator should look at: what happened, then what follows of it and what does not.

    `about` is the id or name of what it is about, "" where the app is. `since`: when it began; it ends the
    title.
    """

    code: Code
    urgent: bool
    title: str
    text: str
    about: str = ""
    since: int | None = None


class Step(msgspec.Struct, frozen=True):
    """One of the first steps with an app, and whether it was taken."""

    name: Literal["origin", "policy", "endpoint", "sign_in"]
    done: bool


class SeatsFigures(msgspec.Struct, frozen=True):
    """The seats of production users. `limit` None: as many as come."""

    taken: int
    limit: int | None
    when_full: Literal["refuse", "eval"]


class EndpointFigures(Figures, frozen=True, kw_only=True):
    """An endpoint and how it is doing."""

    id: str
    url: str
    description: str
    state: State
    reason: str
    failing_since: int | None


class FailedRuns(msgspec.Struct, frozen=True):
    """So many runs of a task were given up in 24 hours; 100 stands for as many or more."""

    task: str
    runs: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """How an app is doing. None: the token may not see it, or it is being counted at this moment.

    `decisions` about people at the door for `days` back, by hour or day; those without any are left out.
    `devices`: heard of in as many days. `asked`: how the web hook or task that decides has answered in 24
    hours; None: nobody was asked. `endpoints`: those that need it most come first; `endpoints_total` of all.
    `failed_mails`, `failed_runs`: given up in 24 hours.
    """

    at: int
    days: int
    since: int
    by: Literal["hour", "day"]
    people: int | None
    devices: int | None
    seats: SeatsFigures
    decisions: list[Decided]
    asked: Answered | None
    asked_by_hour: list[Answered]
    endpoints: list[EndpointFigures] | None
    endpoints_total: int | None
    failed_runs: list[FailedRuns] | None
    failed_mails: Failed | None
    attention: list[Attention]
    steps: list[Step]
