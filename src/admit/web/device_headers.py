"""The device of a sign-in: in the body, or in headers where a client cannot change the body."""

import msgspec

from admit.accounts import devices
from admit.accounts.devices import DeviceSent
from admit.errors import InvalidRequest
from admit.web.operations import Call, unquoted

HEADERS = {"id": "X-Device-Id", "label": "X-Device-Label", "platform": "X-Device-Platform"}
"""The header of each member; values are UTF-8, percent-encoded (RFC 3986 §2.1)."""


def device_of(call: Call, sent: DeviceSent | None) -> DeviceSent:
    """What the client says of its device. One in the body wins whole. Raises InvalidRequest."""
    return devices.check(_in_headers(call) if sent is None else sent)


def _in_headers(call: Call) -> DeviceSent:
    found = {name: value for name, header in HEADERS.items() if (value := call.header(header)) is not None}
    try:
        return msgspec.convert({name: unquoted(value) for name, value in found.items()}, DeviceSent)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The headers of the device are not as they should be: {error}") from None
    except InvalidRequest:
        raise InvalidRequest("The headers of the device are not percent-encoded UTF-8.") from None
