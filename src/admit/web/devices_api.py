"""/api/v4/{app}/users/{user_id}/devices: the devices of a user, which JourneyApps has no door for."""

import msgspec
from starlette.responses import Response

from admit.accounts import device_pages
from admit.accounts.device_pages import Page, SeenDevice
from admit.accounts.sessions import Reason, Session, State
from admit.clock import iso_date
from admit.storage.transaction import Transaction
from admit.web.operations import Call
from admit.web.sessions_access import admitted
from admit.web.sessions_api import no_such_user, operation, user_of
from admit.web.sessions_types import LIMIT, Container, Cursor, Limit, Runtime, Skip, When, container_of


class DevicesWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page of the devices of a user. Those that were first seen last come first."""

    limit: Limit = LIMIT
    skip: Skip = 0
    after: Cursor | None = None


class NewestSession(msgspec.Struct, frozen=True, kw_only=True):
    """The newest session on the device. `reason` is null while it is ENROLLED."""

    id: str
    state: State
    reason: Reason | None
    ordinal: int
    created_at: When
    last_connected_at: When


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One device. `derived`: it sent no id, so its id is that of its key.

    `session` is null where nobody but an owner of the app was on it, who acted as the user.
    """

    id: str
    derived: bool
    label: str | None
    model: str | None
    container: Container
    runtime: Runtime
    first_seen_at: When
    last_seen_at: When
    session: NewestSession | None


class Devices(msgspec.Struct, frozen=True, kw_only=True):
    """Some devices, `count` of `total`. With `more` there is a `next`, the `after` of the next page."""

    total: int
    count: int
    more: bool
    next: str | None
    objects: list[DeviceView]


async def list_devices_of_user(call: Call) -> Response:
    """A page of the devices of one user."""
    let_in, query = await admitted(call), call.query(DevicesWanted)

    def find(tx: Transaction) -> Page | None:
        user = user_of(tx, call, let_in)
        if user is None:
            return None
        return device_pages.of_user(
            tx, user.app_id, user.uid, limit=query.limit, skip=query.skip, after=query.after
        )

    page = await call.gateway.db.read(find)
    if page is None:
        raise no_such_user()
    shown = Devices(
        total=page.total,
        count=len(page.devices),
        more=page.next is not None,
        next=page.next,
        objects=[_device_view(each) for each in page.devices],
    )
    return call.answer(shown, headers=let_in.headers)


def _device_view(seen: SeenDevice) -> DeviceView:
    device = seen.device
    return DeviceView(
        id=device.device_id,
        derived=device.derived,
        label=device.label or None,
        model=device.about.model or None,
        container=container_of(device.about),
        runtime=Runtime(version=device.about.runtime_version or None),
        first_seen_at=iso_date(device.first_seen_at),
        last_seen_at=iso_date(device.last_seen_at),
        session=None if seen.newest is None else _session_view(seen.newest),
    )


def _session_view(session: Session) -> NewestSession:
    return NewestSession(
        id=session.session_id,
        state=session.state,
        reason=session.reason or None,
        ordinal=session.ordinal,
        created_at=iso_date(session.created_at),
        last_connected_at=iso_date(session.connected_at),
    )


OPERATIONS = (
    operation(
        "GET",
        "/users/{user_id}/devices",
        list_devices_of_user,
        "Lists the devices of a user with the newest session on each",
        query=DevicesWanted,
        answer=Devices,
        codes=("user_not_found",),
    ),
)
