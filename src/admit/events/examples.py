"""One example of each type of event: for the schemas, the documentation and tests of endpoints."""

from collections.abc import Mapping

import msgspec

from admit.events.catalog import (
    TYPES,
    Data,
    Device,
    DeviceEnrolled,
    DeviceRefused,
    Identity,
    Person,
    RefusedDevice,
    Session,
    SessionEnded,
    SessionLocked,
    SessionStarted,
    SessionUnlocked,
    SessionWipeConfirmed,
    SessionWiped,
    SignIn,
    Stranger,
    UserDeactivated,
    UserDeleted,
    UserEnrolled,
    UserExpired,
    UserIdentityLinked,
    UserIdentityUnlinked,
    UserImpersonated,
    UserLocked,
    UserReactivated,
    UserRefused,
    UserUnlocked,
    UserUpdated,
    UserUpgraded,
    Verdict,
)
from admit.events.data_facts import DataChange, DataChanged
from admit.events.endpoint_facts import Endpoint, EndpointDisabled, EndpointFailing, Ping
from admit.events.object_facts import ObjectReady, ObjectUpdated

OCCURRED_AT = 1_795_337_113_123
"""When the examples are said to have happened (UTC ms)."""

_ADMISSION = "adm_a47f3b9cf9d2ac31f4a1c7f02e1b6a51c0dd28"
_ADA = Person(
    uid="usr_a47f3b9d42b37e6c2f5f0a3cbb77e1d9c6a0e4",
    user_id="ada@example.com",
    type="prod",
    email="ada@example.com",
    name="Ada Lovelace",
    data=msgspec.Raw('{"plan":"team"}'),
)
_LAPTOP = Device(
    identifier="key_NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    derived=True,
    first_seen="2026-11-22T08:45:13.123Z",
)
_TABLET = RefusedDevice(identifier="3f0c2a52-6c0e-4a8e-9d0b-5f7f6f0f2f61", derived=False)
_FIRST = msgspec.structs.replace(_LAPTOP, first_for_user=True, first_for_device=True)
_SESSION = Session(id="ses_a47f3b9d421c2a88d13f4b8e0c55d9017f3a6b", ordinal=1)
_MAILED_CODE = SignIn(method="email_code", provider="email")
_SINGLE_SIGN_ON = SignIn(method="sso", provider="google")
_AT_GOOGLE = Identity(issuer="https://accounts.google.com", subject="110169484474386276334")
_ACTING = SignIn(method="acting", provider="email")
_OWNER = "owner@example.com"
_CRM = Endpoint(
    id="ep_a47f0c11d2b8c4413a9f6e27d05c8b91ef4370", url="https://crm.example.com", description="CRM"
)

_EXAMPLES: tuple[Data, ...] = (
    UserEnrolled(
        user=_ADA,
        device=_FIRST,
        session=_SESSION,
        sign_in=_MAILED_CODE,
        verdict=Verdict(type="prod", source="webhook", admission_id=_ADMISSION),
    ),
    UserRefused(
        user=Stranger(user_id="eve@example.org"),
        sign_in=_MAILED_CODE,
        verdict=Verdict(type="refused", source="domains", admission_id=_ADMISSION, code="USER_NOT_ACCEPTED"),
    ),
    UserUpdated(user=_ADA, changed=("type", "data")),
    UserUpgraded(user=_ADA),
    UserExpired(user=_ADA, reason="valid_until"),
    UserDeactivated(user=_ADA),
    UserReactivated(user=_ADA),
    UserLocked(user=_ADA),
    UserUnlocked(user=_ADA),
    UserDeleted(user=Person(uid=_ADA.uid, user_id=_ADA.user_id, type=_ADA.type)),
    UserIdentityLinked(user=_ADA, identity=_AT_GOOGLE, sign_in=_SINGLE_SIGN_ON),
    UserIdentityUnlinked(user=_ADA, identity=_AT_GOOGLE),
    UserImpersonated(user=_ADA, device=_LAPTOP, session=_SESSION, sign_in=_ACTING, actor=_OWNER),
    DeviceEnrolled(user=_ADA, device=_FIRST, session=_SESSION, sign_in=_MAILED_CODE),
    SessionStarted(user=_ADA, device=_FIRST, session=_SESSION, sign_in=_MAILED_CODE),
    DeviceRefused(user=_ADA, device=_TABLET, sign_in=_MAILED_CODE, devices_max=2),
    SessionLocked(user=_ADA, device=_LAPTOP, session=_SESSION, reason="locked"),
    SessionUnlocked(user=_ADA, device=_LAPTOP, session=_SESSION),
    SessionWiped(user=_ADA, device=_LAPTOP, session=_SESSION),
    SessionWipeConfirmed(user=_ADA, device=_LAPTOP, session=_SESSION),
    SessionEnded(user=_ADA, device=_LAPTOP, session=_SESSION, reason="logged_out"),
    DataChanged(
        changes=(
            DataChange(
                type="upsert",
                realm_id="ada@example.com",
                table="todos",
                key="tdo0PzXy9ZJ8Qm",
                value=msgspec.Raw('{"id":"tdo0PzXy9ZJ8Qm","title":"Call Grace","done":false}'),
            ),
            DataChange(
                type="update",
                realm_id="ada@example.com",
                table="todos",
                key="tdo0PzXy9ZJ8Qm",
                updates=msgspec.Raw('{"done":true}'),
            ),
        )
    ),
    ObjectReady(
        hook="asset_ready",
        model="asset",
        realm_id="ada@example.com",
        operation="create",
        object=msgspec.Raw(
            '{"id":"ast0PzXy9ZJ8Qm","type":"asset","make":"Apple","updated_at":"2026-11-22T08:45:13.123Z"}'
        ),
    ),
    ObjectUpdated(
        hook="asset_update",
        model="asset",
        realm_id="ada@example.com",
        operation="update",
        object=msgspec.Raw(
            '{"id":"ast0PzXy9ZJ8Qm","type":"asset","make":"Apple","updated_at":"2026-11-22T08:45:13.123Z"}'
        ),
    ),
    EndpointFailing(
        endpoint=_CRM, failing_since="2026-11-21T08:45:09.004Z", reason="It answered 503 Service Unavailable."
    ),
    EndpointDisabled(
        endpoint=_CRM, failing_since="2026-11-17T08:45:09.004Z", reason="Every attempt of 5 days has failed."
    ),
    Ping(),
)

EXAMPLES: Mapping[str, Data] = {each.event_type: each for each in _EXAMPLES}
"""An example by type."""

assert EXAMPLES.keys() == TYPES.keys()
