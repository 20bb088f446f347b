"""The catalog: one struct per event type. What stands here is a public contract.

Members are camelCase in JSON. A type, once published, only ever gains members.
"""

from typing import Literal

import msgspec


class Device(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The device of an enrollment. `derived`: its identifier comes from its public key."""

    identifier: str
    derived: bool
    first_seen: int


class UserEnrolled(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`user.enrolled`: a person was admitted and now lives here.

    Without a device and a session where none took part: created by the API, or a login without a key.
    """

    user_id: str
    email: str
    name: str
    type: str
    method: str
    policy: str
    admission_id: str
    device: Device | None
    session_id: str | None


class UserRefused(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`user.refused`: a person was not admitted. Nothing but the ledger remembers them."""

    user_id: str
    method: str
    policy: str
    admission_id: str
    code: str


class UserEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`user.deactivated`, `user.reactivated`: an operator closed the door to a user, or opened it again."""

    user_id: str
    email: str
    name: str
    type: str


class UserUpdated(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`user.updated`: an operator changed a user.

    `changed` names what: type, validUntil, evalDaysLeft, name, email, data.
    """

    user_id: str
    email: str
    name: str
    type: str
    changed: tuple[str, ...]


class UserExpired(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`user.expired`: a license has ended, because of `reason`."""

    user_id: str
    email: str
    name: str
    type: str
    reason: Literal["validUntil", "evalDaysLeft"]


class UserDeleted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`user.deleted`: everything about a user is erased. Nothing personal but the userId is left to tell."""

    user_id: str


class UserImpersonated(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`user.impersonated`: `actor`, an owner of the app by email, has signed in as a user."""

    user_id: str
    email: str
    actor: str
    session_id: str


class SessionEnded(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`session.ended`: an enrollment on a device is over; it cannot be refreshed any more."""

    session_id: str
    device_id: str
    ordinal: int


Data = (
    UserEnrolled
    | UserRefused
    | UserEvent
    | UserUpdated
    | UserExpired
    | UserDeleted
    | UserImpersonated
    | SessionEnded
)
"""What an event can carry."""
