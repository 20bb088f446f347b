"""What a receiver of a web hook is told, in the words of JourneyApps. Pure.

The same for endpoints and tasks: an event about an object carries it; from a fact about people it is made.
"""

from typing import Any

import msgspec

from admit.clock import iso_date
from admit.data import model_people
from admit.events.hook_filters import OBJECT, OfHook, member
from admit.events.log import Recorded

_CREATIONS = frozenset({"user.enrolled", "device.enrolled", "session.started"})

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body. `app` is the name of the app; it is the account, too: there are no others here.

    `sequence` is a text: JavaScript does not keep large numbers. `test`: nothing has happened.
    """

    event: str
    server: str
    app: str
    app_id: str
    account_id: str
    sequence: str
    operation: str
    object: dict[str, Any]
    test: bool = False


def payload(
    recorded: Recorded, hook: OfHook, *, server: str, app: str, app_id: str, test: bool = False
) -> bytes:
    """The body that tells `recorded` to a receiver of `hook`: the same bytes for the same arguments."""
    data = _decode(bytes(recorded.data))
    if recorded.type.startswith(OBJECT):
        operation, told = data["operation"], data.get("object", {})
    else:
        operation = "create" if recorded.type in _CREATIONS else "update"
        told = _object(recorded, data, hook)
    return _encode(
        Payload(
            event=hook.name,
            server=server,
            app=app,
            app_id=app_id,
            account_id=app_id,
            sequence=str(recorded.position),
            operation=operation,
            object=told,
            test=test,
        )
    )


def _object(recorded: Recorded, data: dict[str, Any], hook: OfHook) -> dict[str, Any]:
    """The object that a fact is about. Whose it is, it says by itself; the rest where it is embedded."""
    told = model_people.told(hook.model, data) if hook.model else None
    if told is None:
        told = {"id": recorded.event_id, "type": recorded.type}
    told["updated_at"] = iso_date(recorded.occurred_at)
    if hook.model not in ("", "user") and (whose := member(data, ("user", "user_id"))) is not None:
        told["user_id"] = whose
    if hook.model in ("session", "enrollment") and (on := member(data, ("device", "identifier"))) is not None:
        told["device_id"] = on
    for path in sorted(hook.embedded, key=len):
        model_people.embed(told, hook.model, path, data)
    return told
