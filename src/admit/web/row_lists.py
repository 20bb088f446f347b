"""Lists of rows: a plain array, whole where nobody says how many, else a page with the way to the next.

A filter by properties has no index. It looks at each row of the table in the realm, from where the page
begins: a page that filters looks at WALKED_ROWS_MAX rows at most, and may hold fewer rows than asked for,
even none, while its Link says that there is more.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import Meta
from starlette.responses import Response, StreamingResponse

from admit.data import object_filters
from admit.data.object_filters import Condition
from admit.data.object_pages import Row
from admit.data.object_walk import walk
from admit.data.realms import Realm
from admit.errors import InvalidRequest
from admit.storage.database import Database
from admit.web.bearer import issuer_of
from admit.web.operations import Call
from admit.web.row_access import Visit

PAGE_ROWS_MAX = 1_000
PAGE_BYTES_MAX = 16_000_000
WALKED_ROWS_MAX = 5_000
CONDITIONS_MAX = 10

_PLACE = msgspec.json.Decoder(tuple[str, str])


class RowsQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Which rows: of one realm; so many, from behind a page. Any other name is a property and what it is."""

    realm_id: Annotated[str, Meta(max_length=1_000)] | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_ROWS_MAX)] | None = None
    paging_key: Annotated[str, Meta(max_length=4_000)] | None = None


NAMES = frozenset(("realmId", "limit", "pagingKey"))


class Page(msgspec.Struct, frozen=True):
    """Some rows, and the key of the next page; None: there is none."""

    rows: Sequence[Row]
    paging_key: str | None


def conditions_of(call: Call, others: frozenset[str] = NAMES) -> list[Condition]:
    """What the query asks of properties, whose names are none of `others`. Raises InvalidRequest."""
    asked = [
        object_filters.condition(name, text) for name, text in call.fields().items() if name not in others
    ]
    if len(asked) > CONDITIONS_MAX:
        raise InvalidRequest(f"At most {CONDITIONS_MAX} properties can be asked for at once.")
    return asked


async def answer(call: Call, visit: Visit, table: str, realm: Realm | None) -> Response:
    """The rows of `table` that the query asks for, of `realm` or of all."""
    query, conditions = call.query(RowsQuery), conditions_of(call)
    after = None if query.paging_key is None else read_key(query.paging_key)
    name = None if realm is None else realm.realm
    if query.limit is None:
        whole = _whole(call.gateway.db, visit.app.app_id, table, name, after, conditions)
        return StreamingResponse(whole, media_type="application/json", headers=dict(visit.headers))
    page = await read_page(call.gateway.db, visit.app.app_id, table, name, after, query.limit, conditions)
    headers = dict(visit.headers)
    if page.paging_key is not None:
        headers["Link"] = f'<{_next(call, visit, page.paging_key)}>; rel="next"'
    body = b"[" + ",".join(row.value or "" for row in page.rows).encode() + b"]"
    return Response(body, media_type="application/json", headers=headers)


async def read_page(
    db: Database,
    app_id: str,
    table: str,
    realm: str | None,
    after: tuple[str, str] | None,
    limit: int,
    conditions: Sequence[Condition],
) -> Page:
    """Up to `limit` rows behind `after` that meet `conditions`, and no more than PAGE_BYTES_MAX."""
    rows: list[Row] = []
    walked = size = 0
    async with aclosing(walk(db, app_id, table, realm, after)) as pages:
        async for page in pages:
            for row in page.rows:
                if object_filters.holds(conditions, row.value or ""):
                    rows.append(row)
                    size += len(row.value or "")
                    if len(rows) == limit or size >= PAGE_BYTES_MAX:
                        return Page(rows, write_key(row.place))
            walked += page.walked
            if page.after is not None and walked >= WALKED_ROWS_MAX:
                return Page(rows, write_key(page.after))
    return Page(rows, None)


def write_key(place: tuple[str, str]) -> str:
    """The paging key of a place, which stands for nothing but itself."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read_key(key: str) -> tuple[str, str]:
    """The place that a paging key stands for. Raises InvalidRequest."""
    try:
        padded = key.encode("ascii") + b"=" * (-len(key) % 4)
        place = _PLACE.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
        if "\0" not in "".join(place):
            return place
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        pass
    raise InvalidRequest("The pagingKey is not what an earlier page has given.")


async def _whole(
    db: Database,
    app_id: str,
    table: str,
    realm: str | None,
    after: tuple[str, str] | None,
    conditions: Sequence[Condition],
) -> AsyncIterator[bytes]:
    """All rows as one array. One that breaks off ends the connection, so that it is noticed."""
    separator = "["
    async with aclosing(walk(db, app_id, table, realm, after)) as pages:
        async for page in pages:
            values = [
                row.value or "" for row in page.rows if object_filters.holds(conditions, row.value or "")
            ]
            if values:
                yield (separator + ",".join(values)).encode()
                separator = ","
    yield b"[]" if separator == "[" else b"]"


def _next(call: Call, visit: Visit, paging_key: str) -> str:
    """The address of the next page. The path stays as it was asked for, and as encoded."""
    path = call.request.scope["path"].split("/", 2)[2]
    query = urlencode(call.fields() | {"pagingKey": paging_key})
    return f"{issuer_of(call.gateway, visit.app)}/{path}?{query}"
