"""What the admin API takes and gives. Times are UTC milliseconds; a list that can grow is paged."""

from typing import Annotated, Any, Literal

import msgspec

from admit.accounts.app_settings import Payload
from admit.accounts.apps import AppSettings, ClientState, PolicySetting, UserIds
from admit.accounts.seats import LIMIT_MAX as SEATS_MAX
from admit.accounts.user_changes import CHANGES_MAX
from admit.accounts.user_edits import UserChange

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000
MOMENT_MAX = 2**53 - 1
"""The largest time that every JSON reader keeps exactly."""

Moment = Annotated[int, msgspec.Meta(ge=0, le=MOMENT_MAX, description="UTC milliseconds since 1970.")]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=PAGE_SIZE_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=1_000)]


class AppView(msgspec.Struct, frozen=True, kw_only=True):
    """One app, without its secrets. `database_url` is what its clients are configured with.

    `policies` are those of ways in that have a rule of their own, `providers` the names of those of single
    sign-on.
    """

    name: str
    former_names: list[str]
    hosts: list[str]
    app_id: str
    database_url: str
    user_ids: UserIds
    policy: PolicySetting
    policy_version: int
    policies: dict[str, PolicySetting]
    settings: AppSettings
    owners: list[str]
    origins: list[str]
    clients: list[str]
    providers: list[str]
    created_at: int


class NewApp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An app to make. `user_ids` can never be changed afterwards."""

    name: Text
    owner: Text
    user_ids: UserIds = "email"


class Owner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who answers for an app."""

    email: Text


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An origin whose pages may call. `force` lets in what is not one of the usual forms."""

    origin: Text
    force: bool = False


class OriginsView(msgspec.Struct, frozen=True, kw_only=True):
    """The allowed origins of an app, as browsers send them."""

    origins: list[str]


class Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host, such as auth.example.com, whose root is to lead to an app."""

    host: Text


class HostsView(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of an app. The first is its address: the issuer of its tokens."""

    hosts: list[str]
    database_url: str


class NewName(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The name that an app is to have."""

    name: Text


class ClientView(msgspec.Struct, frozen=True, kw_only=True):
    """An API client, without its secret. `expires_at` None: it has no end."""

    client_id: str
    scopes: list[str]
    owner: str | None
    state: ClientState
    created_at: int
    secret_changed_at: int
    expires_at: int | None


class NewClient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An API client to make. None: every scope that a client can have."""

    scopes: list[Text] | None = None
    owner: Text | None = None


class ClientSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A client with its secret, which is shown this once."""

    client_id: str
    client_secret: str
    scopes: list[str]
    owner: str | None
    database_url: str


class PolicyView(msgspec.Struct, frozen=True, kw_only=True):
    """The rule for unknown people who come by `way_in`; "": who comes by any that has no rule of its own.

    `own` False: this way in has none. `policies` are those that do, whichever was asked for. `hook_secret`
    signs the calls of a web hook (Standard Webhooks).
    """

    policy: PolicySetting
    version: int
    way_in: str = ""
    own: bool = True
    policies: dict[str, PolicySetting]
    hook_secret: str | None = None


class NewPolicy(PolicySetting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rule for unknown people, as it is to be."""


class NewSettings(AppSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of an app, as they are to be: what is left out gets its default."""


class WaySeats(msgspec.Struct, frozen=True, kw_only=True):
    """The seats of those who first came to an app by one way in."""

    way_in: str
    taken: int
    limit: int | None
    when_full: Literal["refuse", "eval"]


class SeatsView(msgspec.Struct, frozen=True, kw_only=True):
    """The seats of an app: `taken` by production users, of `limit`; None: as many as come.

    `when_full`: whether a newcomer for whom none is left is refused, or admitted as eval. `way_in`: only
    those of people who first came by it; "": of all, and then `by_way_in` has those of each.
    """

    way_in: str = ""
    taken: int
    limit: int | None
    when_full: Literal["refuse", "eval"]
    by_way_in: list[WaySeats] = []


class NewSeats(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The seats of an app, as they are to be."""

    limit: Annotated[int, msgspec.Meta(ge=0, le=SEATS_MAX)] | None = None
    when_full: Literal["refuse", "eval"] = "refuse"


class SeatsRecount(SeatsView, frozen=True, kw_only=True):
    """The seats after a count of the users. `drift`: by how much the number was too low before, mostly 0."""

    drift: int


class Simulation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An unknown person to imagine, and the policy to try; None: the one in force for their `way_in`.

    By a provider they come with what it says of them: their `subject`, an `email` that it says is verified
    or not, and `claims` as it names them.
    """

    email: Text = ""
    user_id: Text | None = None
    email_verified: bool = True
    intent: Literal["", "login", "register"] = ""
    way_in: Text = "email_code"
    subject: Annotated[str, msgspec.Meta(max_length=255)] = ""
    claims: dict[str, Any] = {}
    policy: NewPolicy | None = None


class SimulationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen. `ask`: the web hook at `url`, or the `task`, would decide and be told `told`; nobody
    was asked."""

    outcome: Literal["admit", "refuse", "ask"]
    reason: str
    known: bool
    user_id: str
    type: Literal["eval", "prod"] | None = None
    code: str | None = None
    message: str | None = None
    url: str | None = None
    timeout_seconds: float | None = None
    on_failure: Literal["refuse", "eval"] | None = None
    payload: Payload | None = None
    task: str | None = None
    told: dict[str, Any] | None = None


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """One person of an app, as operators see them. None: never, not known, or without end.

    `devices_max` None: as many as the app allows; 0: any number. `way_in`: by which they first came, a
    method of signing in, the name of a provider, `api` or `import`.
    """

    user_id: str
    uid: str
    email: str
    email_verified: bool
    name: str
    type: str
    license: Literal["ok", "expired", "deactivated"]
    data: msgspec.Raw | None
    created_at: int
    updated_at: int
    last_login_at: int | None
    valid_until: int | None
    eval_days_left: int
    eval_days_max: int
    deactivated_at: int | None
    locked_at: int | None
    devices_max: int | None
    way_in: str


class UserImport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """People to create or change, each for itself. `dry_run`: only say what would become of them."""

    users: Annotated[list[UserChange], msgspec.Meta(max_length=CHANGES_MAX)]
    dry_run: bool = False


class RefusedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Why the entry at `index`, from 0, was left out."""

    index: int
    code: str
    message: str


class UserImported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the entries, into the app with this id.

    `becomes`: of a dry run, what would become of each, in their order.
    """

    app_id: str
    created: int
    changed: int
    unchanged: int
    refused: list[RefusedEntry]
    becomes: list[Literal["created", "changed", "unchanged", "refused"]] = []


class UserPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of people; `paging_key` leads to the next, None: this is the last.

    `back_key`, with `back`, leads to the one before; None: this is the first. A page may hold fewer than were
    asked for, even nobody, and lead on.
    """

    users: list[UserView]
    paging_key: str | None
    back_key: str | None = None


class AdmissionView(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger: a decision about an unknown person, or one that is still open.

    `way_in`: the method, the name of the provider, or `import`. `claims`: what is kept of what the provider
    said; None: they came without one, or have been deleted since.
    """

    admission_id: str
    user_id: str
    method: str
    way_in: str
    claims: dict[str, Any] | None
    policy: str
    policy_version: int
    input_digest: str
    opened_at: int
    settled_at: int | None
    verdict: str
    code: str
    message: str
    reason: str
    late: str
    attempts: int
    latency_ms: int
    uid: str | None


class AdmissionPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the ledger, newest first; by person, oldest first, where a beginning was asked for.

    `before` leads to the next, None: this is the last. A page may be short, or empty, and yet have a next:
    what no index tells apart is sought among two thousand decisions at a time.
    """

    admissions: list[AdmissionView]
    before: str | None


class NewToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operator token to make. `app`: only for this app; `expires_in_seconds` None: until it is revoked."""

    label: Text = ""
    app: Text | None = None
    scopes: list[Text] | None = None
    expires_in_seconds: Annotated[int, msgspec.Meta(ge=60, le=315_360_000)] | None = None


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """An operator token, without the token."""

    token_id: str
    label: str
    app: str | None
    scopes: list[str]
    created_at: int
    expires_at: int | None
    revoked_at: int | None


class TokenSecret(msgspec.Struct, frozen=True, kw_only=True):
    """An operator token, which is shown this once."""

    token_id: str
    token: str
    scopes: list[str]
    app: str | None
    expires_at: int | None
