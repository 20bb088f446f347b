"""The tables of this room."""

from sqlalchemy import Index, PrimaryKeyConstraint, Table

from admit.storage.schema import metadata, moment, number, text

email_codes = Table(
    "email_codes",
    metadata,
    text("app_id"),
    text("otp_id"),
    text("email"),  # normalised
    text("acting_for"),  # whom the owner of that address wants to sign in as; "" as themselves
    text("intent"),  # "" | login | register
    text("network"),  # that asked for it; "" while unknown
    text("code_digest"),  # keyed, bound to otp_id
    number("guesses"),  # counted before the code is compared
    number("uses"),  # right guesses, which may ask again until a login has come of it
    text("spent_by"),  # thumbprint of the key that spent it; "" while unspent
    moment("completed_at", nullable=True),  # when a login came of it
    moment("created_at"),
    moment("expires_at"),
    PrimaryKeyConstraint("app_id", "otp_id"),
    Index(None, "expires_at"),
)

known_networks = Table(
    "known_networks",
    metadata,
    text("app_id"),
    text("place"),  # keyed digest of a mailbox and the network in which its owner has signed in
    moment("until"),
    PrimaryKeyConstraint("app_id", "place"),
    Index(None, "until"),
)

limits = Table(
    "limits",
    metadata,
    text("app_id"),
    text("bucket"),  # keyed digest of what is limited
    moment("window_end"),
    number("count"),
    PrimaryKeyConstraint("app_id", "bucket", "window_end"),
    Index(None, "window_end"),
)
