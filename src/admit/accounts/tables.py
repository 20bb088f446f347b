"""The tables of this room. Every primary key leads with the app, so that apps can be kept apart."""

from sqlalchemy import Index, PrimaryKeyConstraint, Table, UniqueConstraint, and_, literal_column

from admit.storage.schema import metadata, moment, number, text

apps = Table(
    "apps",
    metadata,
    text("app_id", primary_key=True),
    text("name", unique=True),
    text("user_ids"),  # email | opaque, chosen at creation
    text("policy"),  # JSON of accounts.apps.PolicySetting
    text("policies"),  # JSON: way in -> PolicySetting, where a way in has one of its own
    text("settings"),  # JSON of accounts.apps.AppSettings
    number("policy_version"),
    number("version"),  # grows with every change of the app, its owners, origins, clients or secrets
    moment("created_at"),
    moment("changed_at"),
)

names = Table(
    "names",
    metadata,
    text("name", primary_key=True),  # the present name of an app, or a former one that still leads to it
    text("app_id"),
    moment("since"),
    Index(None, "app_id", "name"),
)

hosts = Table(
    "hosts",
    metadata,
    text("host", primary_key=True),  # host[:port] in one spelling; its root is the app
    text("app_id"),
    moment("since"),
    Index(None, "app_id", "host"),
)

id_keys = Table(
    "id_keys",
    metadata,
    text("app_id", primary_key=True),
    text("sealed"),  # what opaque userIds are made with; no row where userIds are emails
)

owners = Table(
    "owners",
    metadata,
    text("app_id"),
    text("email"),
    PrimaryKeyConstraint("app_id", "email"),
)

origins = Table(
    "origins",
    metadata,
    text("app_id"),
    text("origin"),
    moment("created_at"),
    PrimaryKeyConstraint("app_id", "origin"),
)

clients = Table(
    "clients",
    metadata,
    text("app_id"),
    text("client_id"),
    text("secret_digest"),  # "": its owner has not fetched a secret yet
    text("scopes"),  # separated by spaces
    text("owner", nullable=True),  # email
    moment("created_at"),
    moment("secret_changed_at"),
    moment("expires_at", nullable=True),  # NULL: no end; set where another client has taken its place
    moment("revoked_at", nullable=True),
    PrimaryKeyConstraint("app_id", "client_id"),
)

hook_secrets = Table(
    "hook_secrets",
    metadata,
    text("app_id"),
    text("secret_id"),
    text("sealed"),  # whsec_…, under the key ring
    moment("created_at"),
    moment("ends_at", nullable=True),  # NULL: the present one
    PrimaryKeyConstraint("app_id", "secret_id"),
)

users = Table(
    "users",
    metadata,
    text("app_id"),
    text("uid"),
    text("user_id"),
    text("email"),  # "" while unknown
    text("email_verified"),  # "yes" | "no"
    text("name"),  # displayName; "" while unknown
    text("type"),  # eval | prod | client | demo
    text("data", nullable=True),  # JSON object
    moment("created_at"),
    moment("updated_at"),
    moment("last_login_at"),  # 0: never
    moment("valid_until"),  # accounts.users.NEVER: no end
    number("eval_days_left"),
    number("eval_days_max"),
    number("active_day"),  # the last UTC day, in days since 1970, that was counted; 0: none yet
    moment("deactivated_at", nullable=True),
    moment("expired_at", nullable=True),  # when user.expired was told
    moment("locked_at", nullable=True),  # an operator has locked the user out of every device
    number("devices_max", nullable=True),  # NULL: as many as the app allows; 0: no limit
    text("way_in"),  # by which they first came: a sign-in method, a provider's name, api or import
    PrimaryKeyConstraint("app_id", "uid"),
    UniqueConstraint("app_id", "user_id"),
    Index(None, "app_id", "created_at", "user_id"),
    Index(None, "app_id", "updated_at", "user_id"),
    Index(None, "app_id", "last_login_at", "user_id"),
    Index(None, "app_id", "valid_until", "user_id"),
    Index(None, "app_id", "eval_days_left", "user_id"),
    Index(None, "app_id", "type", "user_id"),
    Index(None, "app_id", "name", "user_id"),
)

Index(
    "ix_users_deactivated",
    users.c.app_id,
    users.c.user_id,
    postgresql_where=users.c.deactivated_at.is_not(None),
    sqlite_where=users.c.deactivated_at.is_not(None),
)

Index(
    "ix_users_locked",
    users.c.app_id,
    users.c.created_at,
    users.c.user_id,
    postgresql_where=users.c.locked_at.is_not(None),
    sqlite_where=users.c.locked_at.is_not(None),
)

seats = Table(
    "seats",
    metadata,
    text("app_id"),
    text("way_in"),  # "": the seats of the whole app; else those of who first came that way
    number("taken"),  # users who are prod and not deactivated; other rooms never write it
    number("seat_limit", nullable=True),  # NULL: as many as come
    text("when_full"),  # refuse | eval: what becomes of who would have needed one more
    number("recounts"),  # grows with every repair of `taken`
    PrimaryKeyConstraint("app_id", "way_in"),
)

user_words = Table(
    "user_words",
    metadata,
    text("app_id"),
    text("word"),  # case-folded: words of the userId and the name, the email
    text("uid"),
    PrimaryKeyConstraint("app_id", "word", "uid"),
    Index(None, "app_id", "uid", "word"),
)

identities = Table(
    "identities",
    metadata,
    text("app_id"),
    text("issuer"),
    text("subject"),
    text("uid"),
    moment("created_at"),
    PrimaryKeyConstraint("app_id", "issuer", "subject"),
    Index(None, "app_id", "uid"),
)

devices = Table(
    "devices",
    metadata,
    text("app_id"),
    text("uid"),
    text("device_id"),
    text("derived"),  # "yes": from the public key, "no": sent by the client
    text("key_thumbprint"),
    text("label"),  # what the person or the client calls it; "" while unknown
    text("about"),  # JSON of accounts.devices.About
    moment("first_seen_at"),
    moment("last_seen_at"),
    PrimaryKeyConstraint("app_id", "uid", "device_id"),
    Index(None, "app_id", "device_id", "uid"),
)

sessions = Table(
    "sessions",
    metadata,
    text("app_id"),
    text("session_id"),
    text("uid"),
    text("device_id"),
    number("ordinal"),  # 1 is the first of this user on this device
    text("state"),  # ENROLLED | RESET | LOCKED
    text("reason"),  # accounts.sessions.Reason: why it is not ENROLLED; "" while it is
    text("public_key"),  # SPKI PEM
    text("key_thumbprint"),
    text("client_id", nullable=True),  # the API client that opened it, if one did
    text("actor", nullable=True),  # the email of the owner who signed in as this user, if one did
    text("scopes"),
    moment("created_at"),
    moment("authenticated_at"),
    moment("signed_out_at", nullable=True),
    moment("refresh_until"),
    moment("newest_stamp"),  # the newest time_stamp of an accepted refresh
    moment("connected_at"),  # when the device was last heard of, see accounts.connections
    moment("wiped_at", nullable=True),  # when the device said that it has erased what it held
    PrimaryKeyConstraint("app_id", "session_id"),
    UniqueConstraint("app_id", "uid", "device_id", "ordinal"),
    Index(None, "app_id", "uid", "created_at", "session_id"),
)

Index(
    "ix_sessions_refresh_until",
    sessions.c.refresh_until,
    postgresql_where=sessions.c.state == "ENROLLED",
    sqlite_where=sessions.c.state == "ENROLLED",
)

# Literals, which a partial index must find again in a statement, word for word: SQLite looks no further.
LATER_ON_DEVICE = sessions.c.ordinal > literal_column("1")
OWN_ENROLLED = and_(sessions.c.state == literal_column("'ENROLLED'"), sessions.c.actor.is_(None))

Index(
    "ix_sessions_enrolled",
    sessions.c.app_id,
    sessions.c.uid,
    sessions.c.created_at,
    sessions.c.session_id,
    postgresql_where=OWN_ENROLLED,
    sqlite_where=OWN_ENROLLED,
)

# The first on a device is found by its ordinal. Who makes a new device at every login pays nothing here.
Index(
    "ix_sessions_later_on_device",
    sessions.c.app_id,
    sessions.c.device_id,
    sessions.c.created_at,
    sessions.c.session_id,
    postgresql_where=LATER_ON_DEVICE,
    sqlite_where=LATER_ON_DEVICE,
)

former_keys = Table(
    "former_keys",
    metadata,
    text("app_id"),
    text("session_id"),
    text("uid"),
    text("public_key"),  # SPKI PEM, the one before the last renewal
    text("key_thumbprint"),
    moment("until"),  # it may finish what it had begun until then
    PrimaryKeyConstraint("app_id", "session_id"),
    Index(None, "app_id", "uid"),
    Index(None, "until"),
)

enrollment_tokens = Table(
    "enrollment_tokens",
    metadata,
    text("app_id"),
    text("token_id"),
    text("uid"),
    text("digest"),  # of the token, under the key ring: nobody can read it again
    text("device_id", nullable=True),  # NULL: good on any device
    number("uses_max"),
    number("uses"),
    moment("created_at"),
    moment("expires_at"),
    moment("revoked_at", nullable=True),
    text("client_id", nullable=True),  # the API client that made it, if one did
    moment("client_since", nullable=True),  # when that client had got the secret by which it made it
    text("operator_token_id", nullable=True),  # the operator token that made it, if one did
    PrimaryKeyConstraint("app_id", "token_id"),
    UniqueConstraint("app_id", "digest"),
    Index(None, "app_id", "uid", "token_id"),
    Index(None, "expires_at"),
)

enrollment_token_uses = Table(
    "enrollment_token_uses",
    metadata,
    text("app_id"),
    text("token_id"),
    text("key_thumbprint"),  # who may ask again, where the answer was lost
    text("uid"),
    text("session_id"),
    moment("used_at"),
    PrimaryKeyConstraint("app_id", "token_id", "key_thumbprint"),
    Index(None, "app_id", "uid"),
)

providers = Table(
    "providers",
    metadata,
    text("app_id"),
    text("name"),
    text("setting"),  # JSON of accounts.providers.Provider, without the secret
    text("sealed"),  # the client's secret, under the key ring; that of a public client is empty
    moment("created_at"),
    moment("changed_at"),
    PrimaryKeyConstraint("app_id", "name"),
)

mail_servers = Table(
    "mail_servers",
    metadata,
    text("app_id", primary_key=True),
    text("sealed"),  # smtp://… with its password, under the key ring
    moment("changed_at"),
)

notices = Table(
    "notices",
    metadata,
    text("app_id"),
    text("notice_id"),
    text("type"),  # info | warning
    text("message"),
    moment("created_at"),
    moment("until", nullable=True),
    PrimaryKeyConstraint("app_id", "notice_id"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    text("key_id", primary_key=True),
    number("generation", unique=True),  # so that two processes make one key of one rotation
    text("sealed"),  # the private JWK, under the key ring; the public one is derived from it
    moment("created_at"),
    moment("signs_from"),
    moment("published_until", nullable=True),  # NULL: the newest one, which has no successor yet
)
