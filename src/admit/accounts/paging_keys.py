"""Paging keys: where a page ended, in the form that Dexie Cloud documents: base64 of [sortValue, userId]."""

import base64
import binascii
from typing import Annotated

import msgspec

from admit.errors import InvalidRequest

_Text = Annotated[str, msgspec.Meta(max_length=1_000, pattern=r"\A[^\x00]*\Z")]
_Number = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]

_NUMBERED = msgspec.json.Decoder(tuple[_Number, _Text])
_WORDED = msgspec.json.Decoder(tuple[_Text, _Text])


class Position(msgspec.Struct, frozen=True):
    """Whom the next page begins behind: the value they are sorted by, and the userId that breaks ties."""

    value: int | str
    user_id: str


def write_key(position: Position) -> str:
    """The paging key of `position`. It names no order: it belongs to the request that it came from."""
    return base64.b64encode(msgspec.json.encode([position.value, position.user_id])).decode()


def read_key(key: str, *, numbered: bool) -> Position:
    """The position in `key` for an order by numbers, or by words. Raises InvalidRequest for any other key.

    A key of another order of the same kind cannot be told apart, and harms nothing: it is just a position.
    """
    # In a query string, an unescaped plus has become a space.
    text = key.strip().replace("-", "+").replace("_", "/").replace(" ", "+").rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        value, user_id = (_NUMBERED if numbered else _WORDED).decode(data)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        raise InvalidRequest(
            "This pagingKey does not belong to this order of users. Repeat the request that it came from."
        ) from None
    return Position(value, user_id)
