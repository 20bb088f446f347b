"""What events are about, as tasks see it. The members are those of the catalog of events; what does not apply
to an event is None, or ""."""

from datetime import datetime
from typing import Any, Literal

import msgspec

EventType = Literal[
    "user.enrolled",
    "user.refused",
    "user.updated",
    "user.upgraded",
    "user.expired",
    "user.deactivated",
    "user.reactivated",
    "user.locked",
    "user.unlocked",
    "user.deleted",
    "user.identity_linked",
    "user.identity_unlinked",
    "user.impersonated",
    "device.enrolled",
    "device.refused",
    "session.started",
    "session.locked",
    "session.unlocked",
    "session.wiped",
    "session.wipe_confirmed",
    "session.ended",
    "data.changed",
    "object.ready",
    "object.updated",
    "endpoint.failing",
    "endpoint.disabled",
    "test.ping",
]


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whom it is about. Of somebody who was refused nothing but the `user_id` is told.

    `email`, `name` and `data` are gone once the person is deleted.
    """

    user_id: str
    uid: str = ""
    type: str = ""
    email: str = ""
    name: str = ""
    data: dict[str, Any] | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where they signed in. `derived`: the client sent no identifier, so it is made from its key.

    `first_for_user`: it is the first enrollment of the user on any device, `first_for_device` on this one;
    `key_changed`: the identifier came with another key before.
    """

    identifier: str
    derived: bool
    first_seen: datetime | None = None
    first_for_user: bool = False
    first_for_device: bool = False
    key_changed: bool = False
    platform: str = ""

    @property
    def deviceIdentifier(self) -> str:
        """The same as `identifier`, as JourneyApps calls it."""
        return self.identifier


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One enrollment of the person on the device. `ordinal` 1 is the first, `previous` the one before."""

    id: str
    ordinal: int
    previous: str = ""


class SignIn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How it was proven who is at the door, and who vouched for it."""

    method: str
    provider: str


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person as a provider of single sign-on knows them. `subject` is gone once they are deleted."""

    issuer: str
    subject: str = ""


class DecidedAs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was decided about a person whom the app did not know. `source`: the kind of policy that did."""

    type: str
    source: str
    admission_id: str
    code: str = ""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where events are delivered."""

    id: str
    url: str
    description: str


class DataChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One object that was written: an `upsert` has its `value`, an `update` what was set, by paths."""

    type: str
    realm_id: str = msgspec.field(name="realmId")
    table: str
    key: str
    value: dict[str, Any] | None = None
    updates: dict[str, Any] | None = None
    properties: tuple[str, ...] | None = None


class EventData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that an event can carry."""

    user: Person | None = None
    device: Device | None = None
    session: Session | None = None
    sign_in: SignIn | None = None
    verdict: DecidedAs | None = None
    identity: Identity | None = None
    endpoint: Endpoint | None = None
    changed: tuple[str, ...] = ()
    changes: tuple[DataChange, ...] = ()
    hook: str = ""
    model: str = ""
    realm_id: str = ""
    operation: str = ""
    object: dict[str, Any] | None = None
    reason: str = ""
    actor: str = ""
    devices_max: int | None = None
    failing_since: datetime | None = None
