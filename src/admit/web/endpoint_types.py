"""What the admin API takes and gives about endpoints. Times are UTC milliseconds; positions are texts."""

from typing import Annotated, Literal

import msgspec

from admit.events.subscriptions import Filter, Once
from admit.outbound.signing import PublicJwk
from admit.web.admin_types import Text
from admit.webhooks.endpoint_settings import Format, SettingsChange
from admit.webhooks.endpoints import State
from admit.webhooks.journey_keys import RsaJwk
from admit.webhooks.secrets import OVERLAP_SECONDS, OVERLAP_SECONDS_MAX, Kind

LEFT_OUT = "…"
"""In place of the value of a header that may be a secret."""


class NewEndpoint(SettingsChange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An endpoint to make. `secret`: one of your own (whsec_ or whsk_) instead of a new one.

    `signature`: how requests are signed, hmac where neither is given.
    """

    url: str
    signature: Kind | None = None
    secret: Text | None = None


class NewState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether an endpoint is to be told of what happens. What it misses while it is paused is told later."""

    state: Literal["enabled", "paused"]


class NewSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new secret. None: as the present one signs, and made here.

    No former secret signs for longer than `overlap_seconds` from now.
    """

    signature: Kind | None = None
    secret: Text | None = None
    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=OVERLAP_SECONDS_MAX)] = OVERLAP_SECONDS


class NewTrial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The type of event of which an example is sent."""

    type: Text = "test.ping"


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A secret, without it. `ends_at` None: the present one. `public_key`: of an Ed25519 key."""

    id: str
    signature: Kind
    public_key: str | None
    created_at: int
    ends_at: int | None


class Behind(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint was told of everything up to `caught_up_to`; the log has come to `head`."""

    caught_up_to: str
    head: str


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint. `events` empty: every type but tests. `headers` are the names of the operator's own.

    `hook`: the web hook of the data model that it is told of, "": of none. `retry_delays` in seconds, None:
    those of every delivery. `failing_since`: since when there is nothing but
    failures; `noticed_at`: when that was told. `behind` None: it is told at once.
    """

    id: str
    url: str
    description: str
    events: tuple[str, ...]
    filter: Filter
    once: Once
    format: Format
    hook: str
    headers: list[str]
    retry_delays: tuple[float, ...] | None
    at_once_max: int | None
    per_minute: int | None
    state: State
    reason: str
    failing_since: int | None
    noticed_at: int | None
    behind: Behind | None
    secrets: list[SecretView]
    created_at: int
    changed_at: int


class EndpointSecret(EndpointView, frozen=True, kw_only=True):
    """An endpoint with its new secret, which is shown this once, or the public key of it."""

    secret: str | None
    public_key: str | None


class EndpointPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of endpoints, the oldest first; `after` leads to the next, None: this is the last."""

    endpoints: list[EndpointView]
    after: str | None


class SentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent, by POST. Whoever may not see secrets is told the names of the operator's own headers."""

    url: str
    headers: dict[str, str]
    body: str


class GotAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; of the body the first 16 kB. `truncated`: there was more."""

    status: int
    headers: dict[str, str]
    body: str
    truncated: bool


class TrialView(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a trial. `outcome` is a word for programs, `message` the sentence for people.

    `address` is what the name led to, "" when it never came to that; `response` None: there was none.
    """

    delivered: bool
    outcome: str
    message: str
    request: SentRequest
    address: str
    response: GotAnswer | None
    duration_ms: int


class WebhookKey(PublicJwk, frozen=True):
    """A key that verifies the signatures v1a of Standard Webhooks: as JWK, and as `whpk`."""

    whpk: str = ""


class WebhookKeys(msgspec.Struct, frozen=True):
    """A JSON Web Key Set."""

    keys: list[WebhookKey | RsaJwk]
