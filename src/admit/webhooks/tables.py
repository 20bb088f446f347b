"""The tables of this room. A delivery is a row of `jobs`, whose lane is its endpoint."""

from sqlalchemy import Index, PrimaryKeyConstraint, Table

from admit.storage.schema import metadata, moment, number, text

endpoints = Table(
    "endpoints",
    metadata,
    text("app_id"),
    text("endpoint_id"),
    text("url"),
    text("description"),
    text("format"),  # thin | full | dexie | journeyapps
    text("sealed_headers", nullable=True),  # JSON object: they may hold what lets us in
    text("retry_delays", nullable=True),  # JSON array of seconds; NULL: the defaults
    text("state"),  # enabled | paused | disabled
    text("reason"),  # why it is not enabled, in a sentence
    number("told_from"),  # the position behind which it is told of what happens: that of its creation
    number("caught_up_to", nullable=True),  # how far a subscription that is behind has come; NULL: it is live
    moment("failing_since", nullable=True),  # the first of nothing but failures
    moment("noticed_at", nullable=True),  # when endpoint.failing was told
    moment("created_at"),
    moment("changed_at"),
    PrimaryKeyConstraint("app_id", "endpoint_id"),
)

endpoint_secrets = Table(
    "endpoint_secrets",
    metadata,
    text("app_id"),
    text("endpoint_id"),
    text("secret_id"),
    text("sealed"),  # whsec_… or whsk_…, under the key ring
    moment("created_at"),
    moment("ends_at", nullable=True),  # NULL: the present one
    PrimaryKeyConstraint("app_id", "endpoint_id", "secret_id"),
)

journey_keys = Table(
    "journey_keys",
    metadata,
    text("app_id"),
    text("key_id"),
    text("sealed"),  # an RSA key, base64 of PKCS #8, under the key ring
    moment("created_at"),
    moment("signs_from"),
    moment("published_until", nullable=True),  # NULL: the newest, which has no successor yet
    PrimaryKeyConstraint("app_id", "key_id"),
)

change_hooks = Table(
    "change_hooks",
    metadata,
    text("app_id"),
    text("endpoint_id"),  # of an endpoint of the format dexie
    number("told_until"),  # what is behind this position is told by the jobs to come
    PrimaryKeyConstraint("app_id", "endpoint_id"),
)

campaigns = Table(
    "campaigns",
    metadata,
    text("app_id"),
    text("campaign_id"),
    text("endpoint_id"),
    text("kind"),  # catch_up | replay | retry | backfill
    text("of"),  # of a backfill: user | device | session; "" otherwise
    moment("since"),  # of a replay: nothing that happened before; of a retry: nothing that failed before
    text("cursor"),  # how far it has come: a position, or the key of the last row
    text("until"),  # where it ends, in the same form; "": where the rows or the log end
    number("per_minute", nullable=True),  # NULL: as fast as the endpoint takes them
    moment("next_at"),  # not before: it keeps to per_minute
    number("turn"),  # which of its jobs goes on: grows when it is started again
    number("done"),  # how many deliveries it has made
    number("seen"),  # how many events or rows it has looked at
    number("total", nullable=True),  # how many there were to look at when it began; NULL: unknown
    number("missed"),  # how many events were no longer kept
    text("state"),  # running | done | cancelled
    text("detail"),  # what there is to say of it, in a sentence
    moment("created_at"),
    moment("finished_at", nullable=True),
    PrimaryKeyConstraint("app_id", "campaign_id"),
    Index(None, "app_id", "endpoint_id", "campaign_id"),
)
