"""Who is signed in, as the server tells it in the answer to a login or a refresh."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec


class License(msgspec.Struct, frozen=True):
    """Whether the person may use the app. `type`: demo, eval or prod; `status`: ok, expired or deactivated.

    `eval_days_left` counts days of use, for evaluations only. `valid_until` is in UTC; None: no end is known.
    """

    type: str
    status: str
    eval_days_left: int | None = None
    valid_until: datetime | None = None


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """Something to show to the person at a login. `type`: info or warning."""

    type: str
    message_code: str
    message: str
    message_params: Mapping[str, str] = {}

    @property
    def text(self) -> str:
        """The message with its parameters filled in."""
        text = self.message
        for name, value in self.message_params.items():
            text = text.replace("{" + name + "}", value)
        return text


class CurrentUser(msgspec.Struct, frozen=True, kw_only=True):
    """The person who is signed in; the fields are those of `db.cloud.currentUser`.

    `data` is what the operator keeps about them, `claims` what the server vouches for. `alerts` came with the
    login and are gone after the next refresh.
    """

    user_id: str
    name: str | None
    email: str | None
    data: Mapping[str, Any]
    license: License
    claims: Mapping[str, Any]
    alerts: tuple[Alert, ...] = ()


class Tokens(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag="tokens", tag_field="type"):
    """The tokens in an answer. Times are UTC milliseconds. Members that are not listed are passed over."""

    claims: dict[str, Any]
    access_token: str
    access_token_expiration: int
    refresh_token: str | None = None
    refresh_token_expiration: int | None = None
    user_type: str
    eval_days_left: int | None = None
    user_valid_until: int | None = None
    alerts: tuple[Alert, ...] = ()
    data: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return "Tokens()"


def user_of(tokens: Tokens) -> CurrentUser:
    """The person to whom `tokens` were given. `claims.sub` is there."""
    claims = tokens.claims
    ends_at = tokens.user_valid_until
    return CurrentUser(
        user_id=str(claims["sub"]),
        name=_text(claims.get("name")),
        email=_text(claims.get("email")),
        data=tokens.data or {},
        license=License(
            type=tokens.user_type,
            status=str(claims.get("license", "ok")),
            eval_days_left=tokens.eval_days_left,
            valid_until=None if ends_at is None else _utc(ends_at),
        ),
        claims=claims,
        alerts=tokens.alerts,
    )


def _text(value: object) -> str | None:
    return str(value) if value else None


def _utc(at_ms: int) -> datetime | None:
    """None for a time that no calendar has, which means: no end."""
    try:
        return datetime.fromtimestamp(at_ms / 1_000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
