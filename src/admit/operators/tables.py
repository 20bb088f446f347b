"""The tables of this room."""

from sqlalchemy import Index, Table

from admit.storage.schema import metadata, moment, number, text

operators = Table(
    "operators",
    metadata,
    text("operator_id", primary_key=True),
    text("email", unique=True),  # normalised
    text("name"),
    text("role"),  # owner | admin | support | read-only
    text("password"),  # argon2id in its own encoding; "": none
    moment("created_at"),
    moment("joined_at", nullable=True),  # NULL: invited, and has not come yet
    moment("deactivated_at", nullable=True),
)

operator_passkeys = Table(
    "operator_passkeys",
    metadata,
    text("passkey_id", primary_key=True),
    text("operator_id", index=True),
    text("credential_id", unique=True),  # base64url
    text("public_key"),  # COSE, base64url
    number("sign_count"),  # as the authenticator told it last; 0: it does not count
    text("name"),
    moment("created_at"),
    moment("used_at", nullable=True),
)

operator_sessions = Table(
    "operator_sessions",
    metadata,
    text("session_id", primary_key=True),
    text("operator_id", index=True),
    text("digest", unique=True),  # keyed, of the cookie
    text("method"),  # link | passkey | password | sso
    text("address"),
    text("user_agent"),
    moment("created_at"),  # when the operator has proved who they are
    moment("seen_at", index=True),  # written once a minute at most
)

operator_links = Table(
    "operator_links",
    metadata,
    text("link_id", primary_key=True),  # what the token is made from, under the key ring
    text("digest", unique=True),  # keyed, of the token
    text("operator_id", index=True),  # "": sets up the first owner
    moment("created_at"),
    moment("expires_at", index=True),
    moment("ended_at", nullable=True),  # when it was used, or another took its place
)

operator_challenges = Table(
    "operator_challenges",
    metadata,
    text("digest", primary_key=True),  # keyed, of the challenge
    text("holder"),  # keyed digest of what it is for and whose browser may answer it
    text("details"),  # what must be known when the answer comes
    moment("expires_at", index=True),
)

operator_changes = Table(
    "operator_changes",
    metadata,
    text("change_id", primary_key=True),
    text("app_id"),  # "": it belongs to no app
    moment("at"),
    text("who_kind"),  # operator | token | command
    text("who_id"),
    text("who_label"),
    text("address"),
    text("kind"),  # change | test
    text("method"),
    text("summary"),
    text("path"),  # with ids, without the query
    moment("ended_at", nullable=True),  # NULL: it is being made, or nobody knows how it came out
    number("status", nullable=True),
    text("code"),
    # Behind all that lists show, because these are long: JSON without secrets; "": nothing.
    text("query"),
    text("asked"),
    text("before"),
    text("after"),
    Index("ix_operator_changes_at", "at", "change_id"),
    Index("ix_operator_changes_app", "app_id", "at", "change_id"),
    Index("ix_operator_changes_who", "who_id", "at", "change_id"),
)

operator_tokens = Table(
    "operator_tokens",
    metadata,
    text("token_id", primary_key=True),
    text("digest", unique=True),
    text("label"),
    text("app_id", nullable=True),  # NULL: every app
    text("scopes"),
    moment("created_at"),
    moment("expires_at", nullable=True),
    moment("revoked_at", nullable=True),
)
