"""The catalog: one struct for each type of event. What stands here is a public contract.

In JSON, members are in snake_case and one that does not apply is absent. Times are ISO 8601 in UTC. A type,
once published, only ever gains members. The docstrings and descriptions are what /schemas and docs/events.md
say.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from admit.events.data_facts import DataChanged
from admit.events.endpoint_facts import EndpointDisabled, EndpointFailing, Ping
from admit.events.members import Members, Moment
from admit.events.object_facts import ObjectReady, ObjectUpdated

UserType = Literal["eval", "prod", "demo"]
Property = Literal["type", "valid_until", "eval_days_left", "name", "email", "data"]
End = Literal["valid_until", "eval_days_left"]
LockReason = Literal["locked", "user_locked", "device_limit", "reauthenticate"]
EndReason = Literal["logged_out", "replaced", "expired", "inactive"]

METHODS = "email_code, sso, token_exchange, client_credentials, enrollment_token, demo, acting: by an owner."

UserId = Annotated[str, Meta(description="What clients and the Dexie Cloud contract call userId.")]
Json = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
Actor = Annotated[str, Meta(description="The owner, by email, who acts as the user.")]
Identifier = Annotated[
    str,
    Meta(
        description="The same at every login from this device, until its person is deleted: one that the "
        "client sent may be a name, and is replaced."
    ),
]
Derived = Annotated[
    bool,
    Meta(
        description="The client did not send this identifier: it is made from its public key or, of somebody "
        "who is deleted, from `first_seen`."
    ),
]


class Person(Members, frozen=True, kw_only=True):
    """Who lives here. `email`, `name` and `data` are sent to endpoints of the format full only, and are gone
    once the person is deleted."""

    uid: Annotated[str, Meta(description="Never changes, and is never given to anybody else.")]
    user_id: UserId
    type: UserType
    email: Annotated[str, Meta(description="Absent while it is unknown.")] | UnsetType = UNSET
    name: Annotated[str, Meta(description="For display. Absent while it is unknown.")] | UnsetType = UNSET
    data: Annotated[Json, Meta(description="The operator's own data about the user.")] | UnsetType = UNSET


class Stranger(Members, frozen=True, kw_only=True):
    """Who does not live here. Nothing but the userId is told of them: nobody could erase it later."""

    user_id: UserId


class Device(Members, frozen=True, kw_only=True):
    """Where the person signed in. What the client says of it is gone once the person is deleted."""

    identifier: Identifier
    derived: Derived
    first_seen: Annotated[Moment, Meta(description="When this user was first seen on it.")]
    first_for_user: (
        Annotated[bool, Meta(description="It is the first enrollment of the user on any device.")] | UnsetType
    ) = UNSET
    first_for_device: (
        Annotated[bool, Meta(description="It is the first enrollment of the user on this device.")]
        | UnsetType
    ) = UNSET
    key_changed: (
        Annotated[
            bool, Meta(description="This identifier came with another key before: perhaps another device.")
        ]
        | UnsetType
    ) = UNSET
    platform: Annotated[str, Meta(description="What the client says it runs on.")] | UnsetType = UNSET


class RefusedDevice(Members, frozen=True, kw_only=True):
    """A device that was not let in."""

    identifier: Identifier
    derived: Derived


class Session(Members, frozen=True, kw_only=True):
    """One enrollment of the person on the device."""

    id: Annotated[str, Meta(description="The session, as access tokens and the admin API name it.")]
    ordinal: Annotated[int, Meta(description="1 is the first of this user on this device.")]
    previous: (
        Annotated[str, Meta(description="The session of this user on this device before this one.")]
        | UnsetType
    ) = UNSET


class SignIn(Members, frozen=True, kw_only=True):
    """How it was proven who is at the door."""

    method: Annotated[str, Meta(description=METHODS)]
    provider: Annotated[str, Meta(description="Who vouched: email, client, operator, demo, or a provider.")]


class Identity(Members, frozen=True, kw_only=True):
    """A person as a provider of single sign-on knows them. `subject` is sent to endpoints of the format full
    only, and is gone once the person is deleted."""

    issuer: Annotated[str, Meta(description="Who gives the subjects: the issuer of the provider.")]
    subject: Annotated[str, Meta(description="What the issuer calls the person.")] | UnsetType = UNSET


class Verdict(Members, frozen=True, kw_only=True):
    """What was decided about a person whom the app did not know."""

    type: Literal["eval", "prod", "demo", "refused"]
    source: Annotated[str, Meta(description="The kind of policy that decided; api or import where none did.")]
    admission_id: Annotated[
        str, Meta(description="The row of the ledger, and the webhook-id of the question.")
    ]
    code: Annotated[str, Meta(description="Why the person was refused.")] | UnsetType = UNSET


class UserEnrolled(Members, frozen=True, kw_only=True):
    """A person was admitted and now lives here. Told once, however many logins raced for it.

    Without `sign_in` where a program created the person, and without `device` and `session` where no device
    took part. A backfill knows nothing but the `user`.
    """

    event_type: ClassVar[str] = "user.enrolled"

    user: Person
    device: Device | UnsetType = UNSET
    session: Session | UnsetType = UNSET
    sign_in: SignIn | UnsetType = UNSET
    verdict: Verdict | UnsetType = UNSET


class UserRefused(Members, frozen=True, kw_only=True):
    """A person was not admitted. Nothing but the ledger remembers them, and their next try asks again."""

    event_type: ClassVar[str] = "user.refused"

    user: Stranger
    sign_in: SignIn
    verdict: Verdict


class UserUpdated(Members, frozen=True, kw_only=True):
    """An operator changed a user. `changed` names what."""

    event_type: ClassVar[str] = "user.updated"

    user: Person
    changed: tuple[Property, ...]


class UserUpgraded(Members, frozen=True, kw_only=True):
    """An evaluation became a production user. Told right behind its `user.updated`."""

    event_type: ClassVar[str] = "user.upgraded"

    user: Person


class UserExpired(Members, frozen=True, kw_only=True):
    """A license has ended: its time came (valid_until), or the last active day was used (eval_days_left)."""

    event_type: ClassVar[str] = "user.expired"

    user: Person
    reason: End


class UserDeactivated(Members, frozen=True, kw_only=True):
    """An operator closed the door to a user."""

    event_type: ClassVar[str] = "user.deactivated"

    user: Person


class UserReactivated(Members, frozen=True, kw_only=True):
    """An operator opened the door to a deactivated user again."""

    event_type: ClassVar[str] = "user.reactivated"

    user: Person


class UserLocked(Members, frozen=True, kw_only=True):
    """An operator locked a user out of every device. Each of their open sessions is told by itself."""

    event_type: ClassVar[str] = "user.locked"

    user: Person


class UserUnlocked(Members, frozen=True, kw_only=True):
    """A locked user may come in again; the sessions that were locked with them go on."""

    event_type: ClassVar[str] = "user.unlocked"

    user: Person


class UserDeleted(Members, frozen=True, kw_only=True):
    """Everything about a user is erased; nothing personal but the userId is left to tell.

    Earlier events of the user keep their places without `email`, `name`, `data` and what clients said of
    their devices. A person who returns has a new `uid` and is a new enrollment.
    """

    event_type: ClassVar[str] = "user.deleted"

    user: Person


class UserIdentityLinked(Members, frozen=True, kw_only=True):
    """A user who lived here already signed in at a provider for the first time, with an email that leads to
    them: from now on this identity does, whatever its email. `sign_in` names the provider.

    The identity that somebody enrolled with is told by `user.enrolled` alone.
    """

    event_type: ClassVar[str] = "user.identity_linked"

    user: Person
    identity: Identity
    sign_in: SignIn


class UserIdentityUnlinked(Members, frozen=True, kw_only=True):
    """An operator took an identity away from a user: it leads to nobody any more. Sessions go on."""

    event_type: ClassVar[str] = "user.identity_unlinked"

    user: Person
    identity: Identity


class UserImpersonated(Members, frozen=True, kw_only=True):
    """An owner of the app has signed in as a user (`owner@example.com as ada@example.com`)."""

    event_type: ClassVar[str] = "user.impersonated"

    user: Person
    device: Device
    session: Session
    sign_in: SignIn
    actor: Actor


class DeviceEnrolled(Members, frozen=True, kw_only=True):
    """A user has enrolled on a device: for the first time, or again because the former session had ended or
    the device came with another key.

    In a backfill with the newest session on the device, and without `sign_in`.
    """

    event_type: ClassVar[str] = "device.enrolled"

    user: Person
    device: Device
    session: Session
    sign_in: SignIn | UnsetType = UNSET


class SessionStarted(Members, frozen=True, kw_only=True):
    """A session was opened, by the user or, where there is an `actor`, by an owner who acts as the user.

    A login that renews a session opens none. A backfill tells what is open, without `sign_in`.
    """

    event_type: ClassVar[str] = "session.started"

    user: Person
    device: Device
    session: Session
    sign_in: SignIn | UnsetType = UNSET
    actor: Actor | UnsetType = UNSET


class DeviceRefused(Members, frozen=True, kw_only=True):
    """A user, known and let in, was refused on one more device, because as many as allowed are enrolled."""

    event_type: ClassVar[str] = "device.refused"

    user: Person
    device: RefusedDevice
    sign_in: SignIn
    devices_max: Annotated[int, Meta(description="How many devices the user may have.")]


class SessionLocked(Members, frozen=True, kw_only=True):
    """A session was locked: the device is refused until it is unlocked, or its person signs in again.

    By an operator alone (locked), together with its user (user_locked), in favour of a newer device
    (device_limit), or to have the person prove again who they are (reauthenticate).
    """

    event_type: ClassVar[str] = "session.locked"

    user: Person
    device: Device
    session: Session
    reason: LockReason


class SessionUnlocked(Members, frozen=True, kw_only=True):
    """A locked session may go on."""

    event_type: ClassVar[str] = "session.unlocked"

    user: Person
    device: Device
    session: Session


class SessionWiped(Members, frozen=True, kw_only=True):
    """A session was ended for good, and its device is to erase what it holds."""

    event_type: ClassVar[str] = "session.wiped"

    user: Person
    device: Device
    session: Session


class SessionWipeConfirmed(Members, frozen=True, kw_only=True):
    """A wiped device says that it has erased what it held."""

    event_type: ClassVar[str] = "session.wipe_confirmed"

    user: Person
    device: Device
    session: Session


class SessionEnded(Members, frozen=True, kw_only=True):
    """An enrollment on a device is over; it cannot be refreshed any more.

    The device has left (logged_out), its user has enrolled on it anew (replaced), it can be refreshed no
    longer (expired), or nothing was heard of it for longer than the app allows (inactive).
    """

    event_type: ClassVar[str] = "session.ended"

    user: Person
    device: Device
    session: Session
    reason: EndReason


Data = (
    UserEnrolled
    | UserRefused
    | UserUpdated
    | UserUpgraded
    | UserExpired
    | UserDeactivated
    | UserReactivated
    | UserLocked
    | UserUnlocked
    | UserDeleted
    | UserIdentityLinked
    | UserIdentityUnlinked
    | UserImpersonated
    | DeviceEnrolled
    | DeviceRefused
    | SessionStarted
    | SessionLocked
    | SessionUnlocked
    | SessionWiped
    | SessionWipeConfirmed
    | SessionEnded
    | DataChanged
    | ObjectReady
    | ObjectUpdated
    | EndpointFailing
    | EndpointDisabled
    | Ping
)
"""What an event can carry. Its type follows from it."""

TYPES: Mapping[str, type[Data]] = {each.event_type: each for each in get_args(Data)}
"""Every type of event, in the order in which they are documented."""
