"""What the list of changes keeps of bodies and answers. Pure but for the key that digests are made with.

That is no secret, and nothing of people that deleting them would have to find again.
"""

from typing import Any, get_args

import msgspec

from admit.storage.sealing import KeyRing
from admit.web.operations import Operation

BYTES_MAX = 16_000
"""Longer contents are kept as their digest and size, such as an import of people."""
DIGEST_BYTES = 4

SECRET = "(secret)"  # noqa: S105  (what stands in its place)
LEFT_OUT = "(left out)"

SECRETS = frozenset(
    {
        "AttemptView.headers",
        "AuthenticationToken.qr_svg",
        "AuthenticationToken.token",
        "AuthenticationToken.url",
        "ClientSecret.client_secret",
        "DeliveryHistory.headers",
        "EndpointSecret.secret",
        "IssuedEnrollmentToken.qr_svg",
        "IssuedEnrollmentToken.token",
        "IssuedEnrollmentToken.url",
        "NewEndpoint.headers",
        "NewEndpoint.secret",
        "NewMailServer.url",
        "NewProvider.client_secret",
        "NewSecret.secret",
        "NewValue.value",
        "OperatorLink.link",
        "PolicyView.hook_secret",
        "ProviderChange.client_secret",
        "RehearsedRequest.headers",
        "SentRequest.headers",
        "GotAnswer.headers",
        "SettingsChange.headers",
        "TokenSecret.token",
    }
)
"""The fields of what operations take and give that hold a secret: a type and a name. Never kept."""

PLAIN = frozenset(
    {
        "atomic", "attempts", "backfill", "changed", "changed_at", "code", "created", "created_at",
        "deactivated", "deactivated_at", "delivered", "delivery_id", "device", "devices_max", "dry_run",
        "duration_ms", "email_verified", "endpoint", "endpoint_id", "enrolled", "evalDaysLeft",
        "eval_days_left", "eval_days_max", "event_id", "expires_at", "expires_in", "expires_in_seconds",
        "failed", "finished_at", "id", "issuer", "kind", "last_connected_at", "last_login_at", "license",
        "locked", "locked_at", "method", "next_at", "ok", "ordinal", "out_of_order", "outcome", "queue",
        "realmId", "realm_id", "revision", "sent", "sequence", "session_id", "signed_out_at", "state",
        "status", "step", "stop_on_error", "table", "task", "test", "token_id", "type", "uid", "unchanged",
        "updated_at", "userId", "user_id", "uses", "uses_max", "validUntil", "valid_until", "verdict",
        "way_in", "wipe_confirmed_at",
    }
)  # fmt: skip
"""What is kept of operations about people, beside shapes: states, times and ids. Of the rest a digest is."""

_ABOUT_PEOPLE = ("/deliveries/", "/events/trigger", "/runs")
_TESTS = ("/test", "/rehearsals")
_NO_PEOPLE = ("/tables/{table}",)


def is_test(operation: Operation) -> bool:
    """Whether nothing stays of what it does: somebody tries something."""
    return operation.scopes[0].endswith(":read") or operation.path.endswith(_TESTS)


def is_about_people(operation: Operation) -> bool:
    """Whether it takes or gives what is known of people, or what they have written."""
    if operation.path.endswith(_NO_PEOPLE):
        return False
    return (
        is_test(operation)
        or operation.scopes[0].startswith(("users:", "sessions:", "data:"))
        or any(each in operation.path for each in _ABOUT_PEOPLE)
    )


def asked(raw: bytes, kind: Any, ring: KeyRing, *, about_people: bool) -> str:
    """What is kept of the JSON `raw` that came from outside and should be of the type `kind`; "": nothing.

    What cannot be read as that is left out whole: a secret might be anywhere in it.
    """
    if not raw.strip():
        return ""
    try:
        msgspec.json.decode(raw, type=kind, strict=False)  # a query is all text
        return kept(raw, kind, ring, about_people=about_people)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _left_out(raw, ring)


def kept(raw: bytes, kind: Any, ring: KeyRing, *, about_people: bool) -> str:
    """What is kept of the JSON `raw` of ours, which is of the type `kind`; "": nothing."""
    if not raw:
        return ""
    value = without_secrets(msgspec.json.decode(raw), kind)
    if about_people:
        value = _without_people(value, kind, ring)
    text = msgspec.json.encode(value)
    return text.decode() if len(text) <= BYTES_MAX else _left_out(raw, ring)


def without_secrets(value: Any, kind: Any) -> Any:
    """`value`, JSON of the type `kind`, with SECRET in the place of every secret that is set."""
    match value:
        case dict():
            return {name: _field(name, each, kind) for name, each in value.items()}
        case list():
            return [without_secrets(each, kind) for each in value]
        case _:
            return value


def structs_in(kind: Any) -> list[type[msgspec.Struct]]:
    """The structs that a value of the type `kind` can be, or be a list or a mapping of."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [found for each in get_args(kind) for found in structs_in(each)]


def _field(name: str, value: Any, kind: Any) -> Any:
    types = [
        (f"{struct.__name__}.{field.name}", field.type)
        for struct in structs_in(kind)
        for field in msgspec.structs.fields(struct)
        if field.encode_name == name
    ]
    if any(full in SECRETS for full, _ in types):
        return _veiled(value)
    if not types:  # a key of a mapping
        return without_secrets(value, kind)
    for _, each in types:
        value = without_secrets(value, each)
    return value


def _veiled(value: Any) -> Any:
    if not value:
        return value
    return dict.fromkeys(value, SECRET) if isinstance(value, dict) else SECRET


def _without_people(value: Any, kind: Any, ring: KeyRing, name: str = "") -> Any:
    match value:
        case None | bool() | "":
            return value
        case list():
            return [_without_people(each, kind, ring, name) for each in value]
        case dict() if types := _types_of_fields(kind):
            return {key: _without_people(each, types.get(key), ring, key) for key, each in value.items()}
        case str() | int() | float() if name in PLAIN:
            return value
        case _:
            return f"{LEFT_OUT[:-1]} {_digest(msgspec.json.encode(value), ring)})"


def _types_of_fields(kind: Any) -> dict[str, Any]:
    return {
        field.encode_name: field.type
        for struct in structs_in(kind)
        for field in msgspec.structs.fields(struct)
    }


def _digest(raw: bytes, ring: KeyRing) -> str:
    """What tells one value from another and, without our key, nothing else."""
    return ring.mac("change-value", raw)[:DIGEST_BYTES].hex()


def _left_out(raw: bytes, ring: KeyRing) -> str:
    about = {"bytes": len(raw), "digest": ring.mac("change-contents", raw).hex()}
    return msgspec.json.encode({LEFT_OUT: about}).decode()
