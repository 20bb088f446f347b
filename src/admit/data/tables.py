"""The tables of this room."""

from sqlalchemy import Index, PrimaryKeyConstraint, Table

from admit.storage.schema import metadata, moment, number, text

data_apps = Table(
    "data_apps",
    metadata,
    text("app_id", primary_key=True),
    text("tells"),  # "yes": changes are recorded as events, because somebody wants them
    number("model_version"),  # of the data model; 0: there is none
)

data_tables = Table(
    "data_tables",
    metadata,
    text("app_id"),
    text("name"),
    text("primary_key"),  # as Dexie writes it, without @: id, a.b, [a+b]
    text("id_prefix"),  # of generated keys
    text("generated"),  # "yes": keys are made where none are given (@id)
    moment("created_at"),
    PrimaryKeyConstraint("app_id", "name"),
)

realms = Table(
    "data_realms",
    metadata,
    text("app_id"),
    text("realm"),  # the uid of whose private realm it is, or rlm-public
    number("revision"),  # of the newest change
    PrimaryKeyConstraint("app_id", "realm"),
)

objects = Table(
    "objects",
    metadata,
    text("app_id"),
    text("table_name"),
    text("realm"),
    text("key"),
    number("revision"),  # of its newest change
    number("size"),  # of the value, in bytes; 0: deleted
    text("writer"),  # the client that has this state; "": nobody; "~" before it: it may have another
    moment("changed_at"),
    # As `realm`, for the order of changes. An index that begins as the primary key does would be taken for it
    # by PostgreSQL, as long as it knows little of the table.
    text("history"),
    # The last column, so that SQLite reads the others without it.
    text("value", nullable=True),  # JSON object, special types as the client sent them; NULL: deleted
    PrimaryKeyConstraint("app_id", "table_name", "realm", "key"),
    Index(None, "history", "app_id", "revision"),
    Index(None, "app_id", "table_name", "key", "realm"),  # whoever knows a key need not know the realm
)

pushes = Table(
    "data_pushes",
    metadata,
    text("app_id"),
    text("uid"),
    text("client"),  # the identity of the client's local database
    text("piece"),  # of what it has pushed: applied once, however often it is sent
    moment("at"),  # when it was last sent
    PrimaryKeyConstraint("app_id", "uid", "client", "piece"),
)

models = Table(
    "data_models",
    metadata,
    text("app_id", primary_key=True),
    number("version"),
    text("source"),  # TOML, as the operator wrote it
    text("model"),  # JSON of what was read from it
    moment("changed_at"),
)

readied = Table(
    "readied",
    metadata,
    text("app_id"),
    text("realm"),
    text("hook"),
    text("table_name"),
    text("key"),
    PrimaryKeyConstraint("app_id", "realm", "hook", "table_name", "key"),
)
"""The objects whose `ready` hook has fired: once per object."""
