"""The body of an import as it arrives: unpacked where it is packed, and cut into lines."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator

from admit.errors import InvalidRequest, TooLarge
from admit.web.errors import BodyTooSlow
from admit.web.operations import BODY_SECONDS_MAX, Call, ClientGone

LINE_BYTES_MAX = 4_000_000
"""Of one line; that of all demo users is the longest."""
IMPORT_BYTES_MAX = 8_000_000_000
"""Of an import, unpacked."""
PIECE_BYTES = 65_536


async def unpacked(call: Call) -> AsyncIterator[bytes]:
    """The body in pieces, unpacked where it is gzip. Raises TooLarge, and InvalidRequest for half a body."""
    encoding = (call.header("content-encoding") or "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise InvalidRequest("An import is sent as it is, or packed by gzip.")
    gunzip = zlib.decompressobj(wbits=31)
    size = 0
    async for chunk in _arriving(call):
        for piece in _gunzipped(gunzip, chunk) if encoding == "gzip" else (chunk,):
            size += len(piece)
            if size > IMPORT_BYTES_MAX:
                raise TooLarge(f"An import has at most {IMPORT_BYTES_MAX} bytes. Split the file.")
            yield piece
    if encoding == "gzip" and not gunzip.eof:
        raise InvalidRequest("The import ends in the middle. Send it again.")


def _gunzipped(gunzip: "zlib._Decompress", packed: bytes) -> Iterator[bytes]:
    """In pieces, however much a small body holds."""
    try:
        while packed and not gunzip.eof:
            yield gunzip.decompress(packed, PIECE_BYTES)
            packed = gunzip.unconsumed_tail
    except zlib.error:
        raise InvalidRequest("The import is not packed by gzip.") from None
    if gunzip.unused_data:
        raise InvalidRequest("Something follows the import.")


async def _arriving(call: Call) -> AsyncIterator[bytes]:
    """The body as it arrives; how long it takes in all is the client's affair."""
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                message = await call.request.receive()
        except TimeoutError:
            raise BodyTooSlow(f"Nothing of the body arrived for {BODY_SECONDS_MAX:g} s.") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        if chunk := message.get("body", b""):
            yield chunk
        if not message.get("more_body", False):
            return


async def lines_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of the pieces."""
    rest: list[bytes] = []
    size = 0
    async for piece in pieces:
        *lines, end = piece.split(b"\n")
        for line in lines:
            yield b"".join([*rest, line])
            rest, size = [], 0
        rest.append(end)
        size += len(end)
        if size > LINE_BYTES_MAX:
            raise TooLarge(f"A line has at most {LINE_BYTES_MAX} bytes.")
    yield b"".join(rest)
