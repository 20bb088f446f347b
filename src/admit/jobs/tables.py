"""The table of this room."""

from sqlalchemy import Index, PrimaryKeyConstraint, Table

from admit.storage.schema import metadata, moment, number, text

jobs = Table(
    "jobs",
    metadata,
    text("app_id"),
    text("job_id"),
    text("kind"),  # mail | expire
    text("payload"),  # JSON, or sealed text; "" once erased
    text("state"),  # waiting | claimed | done | dead
    moment("due_at"),  # when waiting: not before; when claimed: end of the lease
    number("attempts"),
    number("fence"),  # grows with every claim, so that a late worker cannot finish another's job
    text("detail"),  # the last outcome in a sentence
    moment("created_at"),
    moment("finished_at", nullable=True),  # when done or dead
    PrimaryKeyConstraint("app_id", "job_id"),
)
# The predicates hold no values, so that both databases recognise them in statements with parameters.
Index(
    "ix_jobs_due",
    jobs.c.kind,
    jobs.c.due_at,
    postgresql_where=jobs.c.finished_at.is_(None),
    sqlite_where=jobs.c.finished_at.is_(None),
)
Index(
    "ix_jobs_finished",
    jobs.c.finished_at,
    postgresql_where=jobs.c.finished_at.is_not(None),
    sqlite_where=jobs.c.finished_at.is_not(None),
)
