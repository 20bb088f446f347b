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

sign_in_codes = Table(
    "sign_in_codes",
    metadata,
    text("app_id"),
    text("code_digest"),  # keyed, of our own code or of an ID token that is exchanged: good once
    text("provider"),
    text("method"),  # sso | token_exchange
    text("sealed"),  # JSON of signin.identity.Identity, under the key ring
    text("origin"),  # of the page that it was given to; "": none to compare
    text("network"),  # in which it was given; "": not compared
    text("challenge"),  # S256 of the client's own PKCE verifier; "": it has none
    moment("created_at"),
    moment("expires_at"),
    text("spent_by"),  # thumbprint of the key that uses it; "" while unspent
    moment("completed_at", nullable=True),  # when a login came of it
    text("session_id"),  # that came of it; "" while none has
    PrimaryKeyConstraint("app_id", "code_digest"),
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
