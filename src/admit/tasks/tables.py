"""The tables of this room."""

from sqlalchemy import PrimaryKeyConstraint, Table, UniqueConstraint

from admit.storage.schema import metadata, moment, text

tasks = Table(
    "tasks",
    metadata,
    text("app_id"),
    text("task_id"),  # also its subscription, and the lane of its runs
    text("name"),
    text("kind"),  # decides | on | every | http | called
    text("declaration"),  # JSON of task.declarations.Declaration
    text("version"),  # of the code that has declared it
    text("paused"),  # "yes": its runs wait
    moment("created_at"),
    moment("changed_at"),
    moment("gone_at", nullable=True),  # when the code no longer declared it; its runs are kept
    PrimaryKeyConstraint("app_id", "task_id"),
    UniqueConstraint("app_id", "name"),
)

task_env = Table(
    "task_env",
    metadata,
    text("app_id"),
    text("name"),
    text("sealed"),  # its value, under the key ring
    moment("changed_at"),
    PrimaryKeyConstraint("app_id", "name"),
)

queues = Table(
    "task_queues",
    metadata,
    text("app_id"),
    text("name"),
    text("lane"),  # of the runs in it, one at a time
    moment("created_at"),
    PrimaryKeyConstraint("app_id", "name"),
)
