"""The tables of this room: open admissions, settled ones as the ledger, and its figures by hour."""

from sqlalchemy import Index, PrimaryKeyConstraint, Table, literal_column

from admit.storage.schema import metadata, moment, number, text

admissions = Table(
    "admissions",
    metadata,
    text("app_id"),
    text("admission_id"),
    text("user_id"),  # that the proof resolves to
    text("method"),  # email_code | client_credentials | sso | token_exchange | api
    text("way_in"),  # the method, or the name of the provider, or import
    text("claims"),  # JSON: what the provider's mapping has kept of its claims; "" without a provider
    text("policy"),  # kind of the policy that was in force
    number("policy_version"),
    text("input_digest"),  # keyed digest of what the policy was given
    number("fence"),  # grows when another attempt takes the admission over
    moment("lease_until"),
    moment("opened_at"),
    moment("settled_at", nullable=True),
    text("verdict"),  # "" while open | eval | prod | refused
    text("code"),  # why refused: the public code; "" otherwise
    text("message"),  # why refused: the sentence that the person sees
    text("reason"),  # for the operator: what decided, or what was wrong with the answer
    text("late"),  # a verdict that came after another attempt had taken over, and was dropped; "" if none
    number("attempts"),  # calls of the decision hook
    number("latency_ms"),  # of the decision
    text("uid", nullable=True),  # the user that came of it
    PrimaryKeyConstraint("app_id", "admission_id"),
    Index(None, "app_id", "opened_at", "admission_id"),
    Index(None, "app_id", "user_id", "opened_at", "admission_id"),
    Index(None, "app_id", "way_in", "opened_at", "admission_id"),
)
Index(
    "uq_admissions_open",
    admissions.c.app_id,
    admissions.c.user_id,
    unique=True,
    postgresql_where=admissions.c.settled_at.is_(None),
    sqlite_where=admissions.c.settled_at.is_(None),
)
IS_REFUSED = admissions.c.verdict == literal_column("'refused'")
"""SQLite takes an index of a part for conditions without parameters only."""
Index(
    "ix_admissions_refused",
    admissions.c.app_id,
    admissions.c.opened_at,
    admissions.c.admission_id,
    postgresql_where=IS_REFUSED,
    sqlite_where=IS_REFUSED,
)
CLAIMS_OF_REFUSED = IS_REFUSED & (admissions.c.claims != literal_column("''"))
"""Of people who were not let in."""
Index(
    "ix_admissions_claims_of_refused",
    admissions.c.settled_at,
    postgresql_where=CLAIMS_OF_REFUSED,
    sqlite_where=CLAIMS_OF_REFUSED,
)

admission_hours = Table(
    "admission_hours",
    metadata,
    text("app_id"),
    moment("hour"),  # when it began
    text("kind"),  # enrollment.hours.Kind, or the bucket of a duration
    number("number"),
    PrimaryKeyConstraint("app_id", "hour", "kind"),
    Index(None, "hour"),
)
