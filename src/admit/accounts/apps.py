"""Apps: created, loaded whole, and changed. Every change grows `version` and signals the topic `app`."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace
from sqlalchemy import Row, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_not  # compiles for SQLite alike

from admit import clock
from admit.accounts import app_providers, app_secrets
from admit.accounts.app_settings import (
    AppSettings as AppSettings,
)
from admit.accounts.app_settings import (
    MailTemplates as MailTemplates,
)
from admit.accounts.app_settings import (
    PolicySetting as PolicySetting,
)
from admit.accounts.app_settings import check_settings, parse_app_name
from admit.accounts.domains import parse_owner
from admit.accounts.origins import parse_origin
from admit.accounts.providers import Provider
from admit.accounts.tables import apps, clients, hosts, names, notices, origins, owners
from admit.errors import Conflict, NotFound
from admit.events import log
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

ORIGINS_MAX = 200
OWNERS_MAX = 50
APPS_PAGE = 1_000

UserIds = Literal["email", "opaque"]
ClientState = Literal["active", "waiting", "expired"]

# Former names stand here too, so that whoever claims one waits for whoever is leaving it.
CLAIM_NAME = insert_or_not(names).on_conflict_do_nothing().returning(names.c.name)
NAMES = select(names.c.name).where(names.c.app_id == bindparam("app"))
HOSTS = select(hosts.c.host).where(hosts.c.app_id == bindparam("app")).order_by(hosts.c.since, hosts.c.host)
ADD_APP = insert(apps)
FIND_APP = select(apps).where(or_(apps.c.name == bindparam("key"), apps.c.app_id == bindparam("key")))
PAGE_OF_APPS = (
    select(apps).where(apps.c.name > bindparam("after")).order_by(apps.c.name).limit(bindparam("limit"))
)
MARK_CHANGED = (
    update(apps)
    .where(apps.c.app_id == bindparam("app"))
    .values(version=apps.c.version + 1, changed_at=bindparam("now"))
    .returning(apps.c.version)
)
SET_SETTINGS = (
    update(apps).where(apps.c.app_id == bindparam("app")).values(settings=bindparam("new_settings"))
)
SETTINGS = select(apps.c.settings).where(apps.c.app_id == bindparam("app"))

ADD_OWNER = insert_or_not(owners).on_conflict_do_nothing().returning(owners.c.email)
REMOVE_OWNER = delete(owners).where(owners.c.app_id == bindparam("app"), owners.c.email == bindparam("email"))
OWNERS = select(owners.c.email).where(owners.c.app_id == bindparam("app"))

ADD_ORIGIN = insert_or_not(origins).on_conflict_do_nothing().returning(origins.c.origin)
REMOVE_ORIGIN = delete(origins).where(
    origins.c.app_id == bindparam("app"), origins.c.origin == bindparam("origin")
)
ORIGINS = select(origins.c.origin).where(origins.c.app_id == bindparam("app"))
COUNT_ORIGINS = select(func.count()).select_from(origins).where(origins.c.app_id == bindparam("app"))

LIVE_CLIENTS = select(clients).where(clients.c.app_id == bindparam("app"), clients.c.revoked_at.is_(None))

NOTICES = (
    select(notices.c.notice_id, notices.c.type, notices.c.message, notices.c.created_at, notices.c.until)
    .where(notices.c.app_id == bindparam("app"))
    .order_by(notices.c.created_at, notices.c.notice_id)
)


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """An API client of one app. Its secret is kept as a keyed digest only; "": none has been fetched yet.

    `expires_at` is None for a client without an end.
    """

    client_id: str
    secret_digest: str
    scopes: frozenset[str]
    owner: str | None
    created_at: int
    secret_changed_at: int
    expires_at: int | None = None

    def lives(self, now: int) -> bool:
        """Whether its end, if it has one, is still to come."""
        return self.expires_at is None or now < self.expires_at

    def state(self, now: int) -> ClientState:
        """waiting: nobody has fetched its secret yet, and it can do nothing."""
        if not self.secret_digest:
            return "waiting"
        return "active" if self.lives(now) else "expired"


class Notice(msgspec.Struct, frozen=True):
    """What everybody reads at sign-in, until `until` (UTC ms; None: until it is removed)."""

    notice_id: str
    type: Literal["info", "warning"]
    message: str
    created_at: int
    until: int | None


class App(msgspec.Struct, frozen=True, kw_only=True):
    """One app at one moment, whole: the snapshot that requests are answered by. Revoked clients are absent.

    `version` grows with every change of anything in here, `policy_version` with every change of a policy.
    `policies` are those of ways in that have one of their own, see `policy_for`.
    """

    app_id: str
    name: str
    user_ids: UserIds
    policy: PolicySetting
    policy_version: int
    policies: Mapping[str, PolicySetting] = {}
    settings: AppSettings
    owners: frozenset[str]
    origins: frozenset[str]
    clients: Mapping[str, Client]
    hook_secret: str
    former_names: frozenset[str] = frozenset()
    hosts: tuple[str, ...] = ()
    """The hosts whose root is this app; the first is its address."""
    id_key: str = ""
    """What opaque userIds are made with; "" where userIds are emails."""
    previous_hook_secret: str = ""
    previous_hook_secret_until: int = 0
    notices: tuple[Notice, ...] = ()
    mail_server: str = ""
    """The URL of the app's own mail server, password and all; "": the installation's."""
    providers: Mapping[str, Provider] = {}
    """By name, in the order in which they were added."""
    version: int
    created_at: int = 0

    def policy_for(self, way_in: str) -> PolicySetting:
        """The rule for people unknown to the app who come by `way_in`."""
        return self.policies.get(way_in, self.policy)

    def __repr__(self) -> str:
        """Without the secrets: snapshots end up in tracebacks."""
        return f"App({self.app_id!r}, {self.name!r}, version={self.version})"


class AppSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the list of apps."""

    app_id: str
    name: str
    user_ids: UserIds
    policy: PolicySetting
    policy_version: int
    created_at: int
    changed_at: int


class NameTaken(msgspec.Struct, frozen=True):
    """Another app bears this name, or bore it and still answers to it."""

    name: str


def create_app(
    tx: Transaction, ring: KeyRing, *, name: str, owner: str, user_ids: UserIds, now: int
) -> App | NameTaken:
    """Creates an app with the policy eval, its log of events and the secret of its hooks.

    Raises InvalidRequest for what `parse_app_name` and `parse_owner` refuse: doors ask them first, so that a
    typing error does not cost the neighbours of this unit their commit.
    """
    name, owner = parse_app_name(name), parse_owner(owner)
    app_id = clock.new_id("app")
    if tx.execute(CLAIM_NAME, {"name": name, "app_id": app_id, "since": now}).one_or_none() is None:
        return NameTaken(name)
    row = {
        "app_id": app_id,
        "name": name,
        "user_ids": user_ids,
        "policy": _json(PolicySetting()),
        "policies": "{}",
        "settings": _json(AppSettings()),
        "policy_version": 1,
        "version": 1,
        "created_at": now,
        "changed_at": now,
    }
    tx.execute(ADD_APP, row)
    if user_ids == "opaque":
        app_secrets.add_id_key(tx, ring, app_id)
    tx.execute(ADD_OWNER, {"app_id": app_id, "email": owner})
    app_secrets.add_hook_secret(tx, ring, app_id, now)
    log.start(tx, app_id)
    tx.signal("app", app_id)
    app = load_app(tx, ring, app_id)
    assert app is not None
    return app


def load_app(tx: Transaction, ring: KeyRing, name_or_id: str) -> App | None:
    """The app of this name or app_id, with everything that belongs to it."""
    row = tx.execute(FIND_APP, {"key": name_or_id}).one_or_none()
    if row is None:
        return None
    this = {"app": row.app_id}
    secret, previous, until = app_secrets.hook_secrets_in(tx, ring, row.app_id)
    return App(
        app_id=row.app_id,
        name=row.name,
        user_ids=row.user_ids,
        policy=msgspec.json.decode(row.policy, type=PolicySetting),
        policy_version=row.policy_version,
        policies=policies_of(row.policies),
        settings=msgspec.json.decode(row.settings, type=AppSettings),
        owners=frozenset(tx.execute(OWNERS, this).scalars()),
        origins=frozenset(tx.execute(ORIGINS, this).scalars()),
        clients={each.client_id: _client(each) for each in tx.execute(LIVE_CLIENTS, this)},
        hook_secret=secret,
        former_names=frozenset(tx.execute(NAMES, this).scalars()) - {row.name},
        hosts=tuple(tx.execute(HOSTS, this).scalars()),
        id_key=app_secrets.id_key_in(tx, ring, row.app_id),
        previous_hook_secret=previous,
        previous_hook_secret_until=until,
        notices=tuple(Notice(**each._mapping) for each in tx.execute(NOTICES, this)),
        mail_server=app_secrets.mail_server_in(tx, ring, row.app_id),
        providers=app_providers.providers_in(tx, ring, row.app_id),
        created_at=row.created_at,
        version=row.version,
    )


def policies_of(stored: str) -> dict[str, PolicySetting]:
    """The policies of ways in, as the column holds them."""
    return msgspec.json.decode(stored, type=dict[str, PolicySetting])


def list_apps(tx: Transaction, *, after: str = "", limit: int = APPS_PAGE) -> list[AppSummary]:
    """The apps in the order of their names, from the first name behind `after`, APPS_PAGE at most."""
    return [
        AppSummary(
            app_id=row.app_id,
            name=row.name,
            user_ids=row.user_ids,
            policy=msgspec.json.decode(row.policy, type=PolicySetting),
            policy_version=row.policy_version,
            created_at=row.created_at,
            changed_at=row.changed_at,
        )
        for row in tx.execute(PAGE_OF_APPS, {"after": after, "limit": min(limit, APPS_PAGE)})
    ]


def mark_changed(tx: Transaction, app_id: str, now: int) -> None:
    """Grows the version of the app, holds its row until the commit, and tells every process. Raises NotFound.

    First in every unit that changes an app, so that changes of one app come one after the other.
    """
    if tx.execute(MARK_CHANGED, {"app": app_id, "now": now}).one_or_none() is None:
        raise NotFound("There is no such app.", code="app_not_found")
    tx.signal("app", app_id)


def set_settings(tx: Transaction, app_id: str, settings: AppSettings, now: int) -> None:
    """Replaces the settings of the app. Raises NotFound, and InvalidRequest as `check_settings` does."""
    mark_changed(tx, app_id, now)
    tx.execute(SET_SETTINGS, {"app": app_id, "new_settings": _json(check_settings(settings))})


def edit_settings(tx: Transaction, app_id: str, now: int, **changes: Any) -> AppSettings:
    """Changes some of the settings and leaves the others. Raises as `set_settings` does."""
    mark_changed(tx, app_id, now)
    stored = msgspec.json.decode(tx.execute(SETTINGS, {"app": app_id}).scalar_one(), type=AppSettings)
    settings = check_settings(replace(stored, **changes))
    tx.execute(SET_SETTINGS, {"app": app_id, "new_settings": _json(settings)})
    return settings


def add_origin(tx: Transaction, app_id: str, origin: str, now: int, *, force: bool = False) -> bool:
    """Lets pages of `origin` call. False: they could already. Raises NotFound, Conflict above ORIGINS_MAX.

    Raises InvalidRequest for what `parse_origin` refuses: doors ask it first.
    """
    origin = parse_origin(origin, force=force)
    mark_changed(tx, app_id, now)
    row = {"app_id": app_id, "origin": origin, "created_at": now}
    added = tx.execute(ADD_ORIGIN, row).one_or_none() is not None
    if added and tx.execute(COUNT_ORIGINS, {"app": app_id}).scalar_one() > ORIGINS_MAX:
        raise Conflict(f"An app has at most {ORIGINS_MAX} origins. Remove one first.")
    return added


def remove_origin(tx: Transaction, app_id: str, origin: str, now: int) -> bool:
    """Ends what `add_origin` began. False: there was no such origin. Raises NotFound."""
    origin = parse_origin(origin, force=True)
    mark_changed(tx, app_id, now)
    return tx.execute(REMOVE_ORIGIN, {"app": app_id, "origin": origin}).rowcount == 1


def add_owner(tx: Transaction, app_id: str, email: str, now: int) -> bool:
    """Makes `email` an owner. False: it was one.

    Raises NotFound, Conflict above OWNERS_MAX, and InvalidRequest as `parse_owner` does.
    """
    email = parse_owner(email)
    mark_changed(tx, app_id, now)
    added = tx.execute(ADD_OWNER, {"app_id": app_id, "email": email}).one_or_none() is not None
    if added and len(tx.execute(OWNERS, {"app": app_id}).all()) > OWNERS_MAX:
        raise Conflict(f"An app has at most {OWNERS_MAX} owners. Remove one first.")
    return added


def remove_owner(tx: Transaction, app_id: str, email: str, now: int) -> bool:
    """Ends an ownership. False: `email` is not an owner, or is the last one, who stays. Raises NotFound."""
    email = parse_owner(email)
    mark_changed(tx, app_id, now)
    if set(tx.execute(OWNERS, {"app": app_id}).scalars()) == {email}:
        return False
    return tx.execute(REMOVE_OWNER, {"app": app_id, "email": email}).rowcount == 1


def rotate_hook_secret(tx: Transaction, ring: KeyRing, app_id: str, now: int) -> str:
    """Makes a new secret for hooks and returns it. The former one signs too for 24 hours. Raises NotFound."""
    mark_changed(tx, app_id, now)
    return app_secrets.replace_hook_secret(tx, ring, app_id, now)


def hook_secrets_of(app: App, now: int) -> tuple[str, ...]:
    """The secrets that sign the hooks of `app` at `now`: the present one, then one that is being replaced."""
    if now < app.previous_hook_secret_until:
        return (app.hook_secret, app.previous_hook_secret)
    return (app.hook_secret,)


def _client(row: Row[Any]) -> Client:
    return Client(
        client_id=row.client_id,
        secret_digest=row.secret_digest,
        scopes=frozenset(row.scopes.split()),
        owner=row.owner,
        created_at=row.created_at,
        secret_changed_at=row.secret_changed_at,
        expires_at=row.expires_at,
    )


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
