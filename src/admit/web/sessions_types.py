"""What the Sessions API takes and gives: the members that JourneyApps documents, and ours beside them.

Times are ISO 8601 in UTC; null is what is not known. Source: docs/compat.md.
"""

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from admit.accounts import session_pages
from admit.accounts.devices import About, Device
from admit.accounts.enrollment_tokens import SECONDS_DEFAULT, SECONDS_MAX, SECONDS_MIN, USES_MAX
from admit.accounts.enrollment_tokens import State as TokenState
from admit.accounts.session_pages import ListedSession
from admit.accounts.sessions import Reason, State
from admit.accounts.user_session_pages import Holder
from admit.clock import iso_date
from admit.errors import InvalidRequest

LIMIT = 100
TOKENS_MAX = 500
DEVICES_MAX_MAX = 1_000
YEAR_10000_MS = 253_402_300_800_000

Text = Annotated[str, Meta(max_length=1_000)]
Cursor = Annotated[str, Meta(max_length=4_000, description="The `next` of the page before.")]
Limit = Annotated[int, Meta(ge=1, le=session_pages.PAGE_ROWS_MAX)]
Skip = Annotated[int, Meta(description=f"How many to pass over, at most {session_pages.SKIPPED_MAX}.")]
Moment = Annotated[str, Meta(max_length=100, description="ISO 8601 with a time zone.")]
When = Annotated[str, Meta(description="ISO 8601 in UTC.")]


class UsersWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which users: those with a device of this id, those who are `locked` or not. Oldest first."""

    device: Text | None = None
    locked: bool | None = None
    limit: Limit = LIMIT
    skip: Skip = 0
    after: Cursor | None = None


class SessionsWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sessions. `active`: they go on, and their user may sign in. Newest first."""

    device: Text | None = None
    state: Literal["ENROLLED", "LOCKED", "RESET", "NEVER_ENROLLED"] | None = None
    active: bool | None = None
    created_since: Moment | None = None
    authenticated_since: Moment | None = None
    limit: Limit = LIMIT
    skip: Skip = 0
    after: Cursor | None = None

    @property
    def which(self) -> session_pages.Which:
        """What is asked for. Raises InvalidRequest for a time that is none."""
        return session_pages.Which(
            device=self.device,
            state=self.state,
            active=self.active,
            created_since=_moment_in("created_since", self.created_since),
            authenticated_since=_moment_in("authenticated_since", self.authenticated_since),
            limit=self.limit,
            skip=self.skip,
            after=self.after,
        )


class TokensWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page of the tokens of a user, newest first."""

    limit: Annotated[int, Meta(ge=1, le=TOKENS_MAX)] = LIMIT
    after: Cursor | None = None


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """The app that runs on the device."""

    version: str | None
    bundle_id: str | None
    platform: str | None


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """What runs the app."""

    version: str | None


class SessionDevice(msgspec.Struct, frozen=True, kw_only=True):
    """The device. `derived`: it sent no id, so its id is that of its key."""

    id: str
    derived: bool
    first_seen_at: When
    last_seen_at: When
    model: str | None


class SyncStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far the device has synced, which this server does not know."""

    last_full_sync: None = None


class SessionUser(msgspec.Struct, frozen=True, kw_only=True):
    """Whose session it is."""

    id: str
    user_id: str


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """One enrollment of a user on a device. `reason` is absent while it is ENROLLED, `actor` unless an owner
    of the app signed in as the user, `wipe_confirmed_at` until the device has said that it is wiped."""

    id: str
    state: State
    reason: Reason | UnsetType = UNSET
    created_at: When
    last_authenticated_at: When
    signed_out_at: When | None
    last_connected_at: When
    expires_at: When
    ordinal: int
    label: str | None
    container: Container
    runtime: Runtime
    device: SessionDevice
    sync_status: SyncStatus = SyncStatus()
    user: SessionUser
    actor: str | UnsetType = UNSET
    wipe_confirmed_at: When | UnsetType = UNSET


class UserWithSessions(msgspec.Struct, frozen=True, kw_only=True):
    """A user with their newest sessions; `sessions_more`: there are older ones, which the list of their
    sessions has. `devices_max`: how many devices at once, null as the app has it, 0 any number. `way_in`: by
    which they first came, a method of signing in, the name of a provider, `api` or `import`."""

    id: str
    user_id: str
    email: str | None
    name: str | None
    created_at: When
    last_connected_at: When | None
    enrolled: bool
    locked: bool
    devices_max: int | None
    way_in: str
    sessions: list[SessionView]
    sessions_more: bool


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """Some users, `count` of `total`. With `more` there is a `next`, the `after` of the next page."""

    total: int
    count: int
    more: bool
    next: str | None
    objects: list[UserWithSessions]


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """Some sessions, `count` of `total`. With `more` there is a `next`, the `after` of the next page."""

    total: Annotated[
        int | None,
        Meta(description="null where more than 10,000 sessions on one device are too many to count."),
    ]
    count: int
    more: bool
    next: str | None
    objects: list[SessionView]


class NewAuthenticationToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to make: for how many seconds and enrollments, and on which device only."""

    expires_in: Annotated[int, Meta(ge=SECONDS_MIN, le=SECONDS_MAX)] = SECONDS_DEFAULT
    uses: Annotated[int, Meta(ge=1, le=USES_MAX)] = 1
    device: Text | None = None


class AuthenticationToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token right after it was made: neither it nor its link can be read again."""

    id: str
    token: str
    url: Annotated[str, Meta(description="The link that carries the token to the app.")]
    qr_svg: Annotated[str, Meta(description="A data URL: the link as a picture to scan.")]
    expires_at: When
    uses: int
    device: str | None


class AuthenticationTokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is kept, without the token. `used` of `uses`."""

    id: str
    state: TokenState
    created_at: When
    expires_at: When
    revoked_at: When | None
    uses: int
    used: int
    device: str | None


class AuthenticationTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Some tokens of a user. With `more` there is a `next`, which is the `after` of the next page."""

    count: int
    more: bool
    next: str | None
    objects: list[AuthenticationTokenView]


class DeviceLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many devices a user may have enrolled at once: null as the app has it, 0 any number."""

    devices_max: Annotated[int, Meta(ge=0, le=DEVICES_MAX_MAX)] | None


def user_view(holder: Holder) -> UserWithSessions:
    """A user as the API tells them."""
    user = holder.user
    return UserWithSessions(
        id=user.uid,
        user_id=user.user_id,
        email=user.email or None,
        name=user.name or None,
        created_at=_iso(user.created_at),
        last_connected_at=_date(holder.last_connected_at),
        enrolled=holder.enrolled,
        locked=user.locked_at is not None,
        devices_max=user.devices_max,
        way_in=user.way_in,
        sessions=[session_view(each) for each in holder.sessions],
        sessions_more=holder.sessions_more,
    )


def session_view(session: ListedSession) -> SessionView:
    """A session as the API tells it."""
    device = session.device
    return SessionView(
        id=session.session_id,
        state=session.state,
        reason=session.reason or UNSET,
        created_at=_iso(session.created_at),
        last_authenticated_at=_iso(session.authenticated_at),
        signed_out_at=_date(session.signed_out_at),
        last_connected_at=_iso(session.connected_at),
        expires_at=_iso(session.refresh_until),
        ordinal=session.ordinal,
        label=device.label or None,
        container=container_of(device.about),
        runtime=Runtime(version=device.about.runtime_version or None),
        device=_device_view(device),
        user=SessionUser(id=device.uid, user_id=session.user_id),
        actor=session.actor or UNSET,
        wipe_confirmed_at=UNSET if session.wiped_at is None else _iso(session.wiped_at),
    )


def container_of(about: About) -> Container:
    """What a device tells of the app on it."""
    return Container(
        version=about.app_version or None,
        bundle_id=about.bundle_id or None,
        platform=about.platform or None,
    )


def _device_view(device: Device) -> SessionDevice:
    return SessionDevice(
        id=device.device_id,
        derived=device.derived,
        first_seen_at=_iso(device.first_seen_at),
        last_seen_at=_iso(device.last_seen_at),
        model=device.about.model or None,
    )


@lru_cache(maxsize=1_024)
def _iso(at_ms: int) -> str:
    """Of the seven times of a session most are the same: half of the work for a list was this."""
    return iso_date(at_ms)


def _date(at_ms: int | None) -> str | None:
    return None if at_ms is None else _iso(at_ms)


def _moment_in(name: str, text: str | None) -> int:
    """UTC ms of an ISO 8601 time; 0 where none is given. Raises InvalidRequest."""
    if text is None:
        return 0
    try:
        moment = datetime.fromisoformat(text)
        at_ms = round(moment.timestamp() * 1_000) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"{name} is a time such as 2026-11-22T08:00:00Z. In a query, a plus is written %2B."
        ) from None
    if at_ms is None:
        raise InvalidRequest(f"{name} needs a time zone, such as the Z in 2026-11-22T08:00:00Z.")
    if not 0 <= at_ms < YEAR_10000_MS:
        raise InvalidRequest(f"{name} is a time from 1970 on and before the year 10000.")
    return at_ms
