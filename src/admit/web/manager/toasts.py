"""What an operator has just done, told once on the next page, with a way to undo it where there is one.

It travels in a cookie that we authenticate: the page that comes next may be answered by another server.
"""

import base64
import binascii

import msgspec

from admit.storage.sealing import KeyRing

COOKIE = "admit-toast"
SECONDS_MAX = 60
VALUE_BYTES_MAX = 3_800
"""A browser keeps 4,096 bytes with the name of the cookie and what is said of it. RFC 6265 §6.1."""
SENTENCE_CHARACTERS_MAX = 300
_PURPOSE = "manager-toast"


class Undo(msgspec.Struct, frozen=True):
    """The form that takes a change back: where it is posted, a path below /manager, and its fields."""

    path: str
    fields: dict[str, str] = {}
    label: str = "Undo"


class Toast(msgspec.Struct, frozen=True):
    """One sentence, such as “Work laptop is locked.”"""

    sentence: str
    undo: Undo | None = None


def written(ring: KeyRing, session_id: str, toast: Toast) -> str:
    """The value of the cookie, which is read in this session alone: who comes next presses no undo of others.

    What is too long for one goes without its way back, or is cut.
    """
    shorter = toast, Toast(toast.sentence), Toast(f"{toast.sentence[:SENTENCE_CHARACTERS_MAX]}…")
    values = [_value(ring, session_id, each) for each in shorter]
    return next((each for each in values if len(each) <= VALUE_BYTES_MAX), values[-1])


def _value(ring: KeyRing, session_id: str, toast: Toast) -> str:
    body = msgspec.json.encode(toast)
    return f"{_text(body)}.{_text(ring.mac(_PURPOSE, _bound(session_id, body)))}"


def read(ring: KeyRing, session_id: str, value: str) -> Toast | None:
    """The toast; None where the cookie is not ours, or of another session."""
    body, _, mac = value.partition(".")
    try:
        raw, given = _raw(body), _raw(mac)
    except (binascii.Error, ValueError):
        return None
    if not ring.verify_mac(_PURPOSE, _bound(session_id, raw), given):
        return None
    return msgspec.json.decode(raw, type=Toast)


def _bound(session_id: str, body: bytes) -> bytes:
    return session_id.encode() + b" " + body


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
