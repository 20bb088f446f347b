"""A walk past the objects of a table, however many, in pieces that no memory notices."""

from collections.abc import AsyncGenerator
from functools import partial

from admit.data import object_pages
from admit.data.object_pages import ROWS_MAX, Page
from admit.storage.database import Database

FIRST_ROWS = 20
PIECE_BYTES = 4_000_000
"""What the objects of a piece should come to. One may have a megabyte, so a walk begins with few."""


async def walk(
    db: Database, app_id: str, table: str, realm: str | None, after: tuple[str, str] | None = None
) -> AsyncGenerator[Page]:
    """The objects of `table` behind `after`, of one realm or of all, page by page until the last."""
    rows_max = FIRST_ROWS
    while True:
        page = await db.read(
            partial(
                object_pages.page, app_id=app_id, table=table, realm=realm, after=after, rows_max=rows_max
            )
        )
        yield page
        if page.after is None:
            return
        after = page.after
        rows_max = _next_size(page, rows_max)


async def tables(db: Database, app_id: str) -> AsyncGenerator[str]:
    """The tables of an app that have, or had, objects, by name."""
    name: str | None = ""
    while name is not None:
        name = await db.read(partial(object_pages.next_table, app_id=app_id, after=name))
        if name is not None:
            yield name


def _next_size(page: Page, rows_max: int) -> int:
    """At most four times as many as before, and no more than PIECE_BYTES of objects like the last."""
    mean = max(1, sum(len(row.value or "") for row in page.rows) // max(1, len(page.rows)))
    return max(1, min(ROWS_MAX, 4 * rows_max, PIECE_BYTES // mean))
