"""/api/apps/{app}/lines: what runs of tasks have said, for programs that look, and for those that follow."""

from functools import partial
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from admit.accounts.apps import App
from admit.errors import InvalidRequest
from admit.jobs import lines
from admit.jobs.lines import KeptLine, LinesPage, Query
from admit.storage.transaction import Transaction
from admit.task.wire import Level
from admit.tasks import registrations
from admit.web.admin_runs_api import task_id_of
from admit.web.admin_types import Text
from admit.web.long_poll import WAIT_SECONDS_MAX, while_connected
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.web.task_types import LinePage, LineView

BEGINNING = "beginning"
LATEST = "latest"
POSITION_CHARACTERS_MAX = 16


class LinesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which lines: of a `task`, of a `run`, of a `level` or a worse one, that hold the text `search`.

    Those behind `after`, a cursor, `beginning` or `latest`; `wait`: how many seconds to wait where there are
    none yet. Or the newest: so many as `last` says.
    """

    task: Text = ""
    run: Text = ""
    level: Level | None = None
    search: Annotated[str, msgspec.Meta(max_length=200)] = ""
    after: Annotated[str, msgspec.Meta(max_length=POSITION_CHARACTERS_MAX)] = BEGINNING
    wait: Annotated[float, msgspec.Meta(ge=0, le=WAIT_SECONDS_MAX)] = 0.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=lines.PAGE_MAX)] = lines.PAGE_MAX
    last: Annotated[int, msgspec.Meta(ge=1, le=lines.PAGE_MAX)] | None = None


async def list_lines(call: Call) -> Response:
    """A page of lines."""
    app, asked, gateway = await permitted_app(call), call.query(LinesQuery), call.gateway
    task_id = await task_id_of(call, app, asked.task)
    after = await _position(call, app, asked.after)
    query = Query(
        after=after,
        lane=task_id,
        job_id=asked.run,
        level=asked.level or "",
        text=asked.search,
        limit=asked.last or asked.limit,
    )
    if asked.last is not None:
        page = await gateway.db.read(partial(lines.last, app_id=app.app_id, query=query))
    else:
        page = await while_connected(call.request, gateway.line_news.page(app.app_id, query, asked.wait))
    return call.answer(await _view(call, app, page))


async def _position(call: Call, app: App, after: str) -> int:
    if after in ("", BEGINNING):
        return 0
    if after == LATEST:
        return await call.gateway.db.read(partial(lines.newest, app_id=app.app_id))
    if not (after.isascii() and after.isdigit()):
        raise InvalidRequest("after is not what an earlier page has given.")
    return int(after)


async def _view(call: Call, app: App, page: LinesPage) -> LinePage:
    def names(tx: Transaction) -> dict[str, str]:
        return {each.task_id: each.name for each in registrations.of_app(tx, app.app_id)}

    known = await call.gateway.db.read(names) if page.lines else {}
    shown = [_line(each, known.get(each.lane, "")) for each in page.lines]
    return LinePage(lines=shown, cursor=str(page.after), more=page.more)


def _line(line: KeptLine, task: str) -> LineView:
    return LineView(
        cursor=str(line.position),
        run=line.job_id,
        task=task,
        attempt=line.attempt,
        at=line.said_at,
        level=line.level,
        text=line.line,
        fields=msgspec.json.decode(line.fields, type=dict[str, Any]) if line.fields else {},
    )


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/lines",
        list_lines,
        "Lists what runs of tasks have said, and waits for the next lines",
        "tasks:read",
        query=LinesQuery,
        answer=LinePage,
        codes=("task_not_found",),
    ),
)
