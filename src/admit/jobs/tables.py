"""The tables of this room."""

from sqlalchemy import Index, PrimaryKeyConstraint, Table, UniqueConstraint

from admit.storage.schema import metadata, moment, number, text

jobs = Table(
    "jobs",
    metadata,
    text("app_id"),
    text("job_id"),
    text("kind"),  # mail | expire | delivery | campaign
    text("lane"),  # whose turn it is apart from others, such as an endpoint; "": all jobs of the kind
    text("subject", nullable=True),  # in one lane, jobs of one subject (a uid) wait for each other
    number("turn"),  # the place among the unfinished jobs of the subject in the lane
    number("sequence"),  # the position of the event that a delivery tells; 0: of none
    text("payload"),  # JSON, or sealed text; "" once erased
    text("state"),  # waiting | blocked | claimed | done | dead
    moment("due_at"),  # waiting: not before; blocked: passes then; claimed: end of the lease
    number("again"),  # 0: fresh, 1: claimed before
    number("attempts"),
    number("earlier"),  # how many of them were before somebody asked for another try
    number("fence"),  # grows with every claim, so that a late worker cannot finish another's job
    moment("tried_at"),  # when the last attempt was settled; 0: never
    text("out_of_order"),  # "yes": it has passed an earlier one of its subject
    text("detail"),  # the last outcome in a sentence
    moment("created_at"),
    moment("finished_at", nullable=True),  # when done or dead
    moment("failed_at", nullable=True),  # when dead
    PrimaryKeyConstraint("app_id", "job_id"),
    Index(None, "app_id", "lane", "created_at", "job_id"),
)
# The predicates hold no values, so that both databases recognise them in statements with parameters.
Index(
    "ix_jobs_due",
    jobs.c.kind,
    jobs.c.lane,
    jobs.c.again,
    jobs.c.due_at,
    postgresql_where=jobs.c.finished_at.is_(None),
    sqlite_where=jobs.c.finished_at.is_(None),
)
Index(
    "ix_jobs_order",
    jobs.c.app_id,
    jobs.c.subject,
    jobs.c.lane,
    jobs.c.turn,
    postgresql_where=jobs.c.subject.is_not(None) & jobs.c.finished_at.is_(None),
    sqlite_where=jobs.c.subject.is_not(None) & jobs.c.finished_at.is_(None),
)
Index(
    "ix_jobs_subject",
    jobs.c.app_id,
    jobs.c.subject,
    jobs.c.created_at,
    jobs.c.job_id,
    postgresql_where=jobs.c.subject.is_not(None),
    sqlite_where=jobs.c.subject.is_not(None),
)
Index(
    "ix_jobs_finished",
    jobs.c.finished_at,
    postgresql_where=jobs.c.finished_at.is_not(None),
    sqlite_where=jobs.c.finished_at.is_not(None),
)
Index(
    "ix_jobs_failed",
    jobs.c.app_id,
    jobs.c.lane,
    jobs.c.failed_at,
    postgresql_where=jobs.c.failed_at.is_not(None),
    sqlite_where=jobs.c.failed_at.is_not(None),
)

lanes = Table(
    "lanes",
    metadata,
    text("lane", primary_key=True),
    text("app_id"),
    text("kind"),
    text("closed"),  # "yes": nothing in it is claimed
    number("at_once_max", nullable=True),  # over all processes; NULL: as many as it bears
    number("per_minute", nullable=True),  # how many may begin in a minute; NULL: no limit
    number("next_start_us"),  # where per_minute is set: when the next may begin (UTC microseconds)
    moment("opened_at"),  # when it was opened again; 0: it has been open from the start
    text("holder"),  # the worker that serves a lane with limits alone; "": none does
    moment("held_until"),
    Index(None, "app_id", "lane"),
)

attempts = Table(
    "attempts",
    metadata,
    text("app_id"),
    text("job_id"),
    number("attempt"),  # 1 is the first
    text("lane"),
    moment("started_at"),
    number("duration_ms"),
    text("outcome"),  # a word for programs: ok, http_503, timeout, dns, …
    number("status", nullable=True),  # of the answer, where there was one
    text("address"),  # where it went
    text("detail"),  # a sentence for people
    text("headers"),  # of the answer: JSON object; "" where there was none
    text("reply"),  # what was answered, cut off
    PrimaryKeyConstraint("app_id", "job_id", "attempt"),
)

hours = Table(
    "job_hours",
    metadata,
    text("app_id"),
    text("lane"),
    moment("hour"),  # its beginning
    number("slot"),  # one of several rows that are one hour together: see jobs.hours
    number("accepted"),  # attempts that did what they were for
    number("failed"),
    number("duration_ms"),  # of all of them together
    PrimaryKeyConstraint("app_id", "lane", "hour", "slot"),
    Index(None, "hour"),
)

lines = Table(
    "job_lines",
    metadata,
    text("app_id"),
    number("position"),  # in the order of the commits of the app's lines
    text("job_id"),
    text("lane"),
    number("attempt"),
    number("fence"),  # of the claim, and
    number("number"),  # the place among its lines: none is kept twice
    moment("said_at"),
    text("level"),  # debug | info | warning | error
    text("line"),
    text("fields"),  # JSON object; "" where there are none
    PrimaryKeyConstraint("app_id", "position"),
    UniqueConstraint("app_id", "job_id", "fence", "number"),
    Index(None, "app_id", "lane", "position"),
)

line_heads = Table(
    "job_line_heads",
    metadata,
    text("app_id", primary_key=True),
    number("position"),  # of the newest line
)

links = Table(
    "job_links",
    metadata,
    text("app_id"),
    text("about"),  # an id of what the job is about: an event, an admission, a session; device:IDENTIFIER
    text("job_id"),
    moment("created_at"),  # of the job
    PrimaryKeyConstraint("app_id", "about", "created_at", "job_id"),
    Index(None, "app_id", "job_id"),
)
