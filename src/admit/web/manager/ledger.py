"""/apps/APP/policy/ledger: every decision about somebody unknown, searched, shown whole, and taken away."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from admit.accounts.people_files import Format
from admit.clock import DAY_MS
from admit.errors import InvalidRequest
from admit.web import admission_files
from admit.web.admin_types import AdmissionPage, AdmissionView, AppView
from admit.web.admission_files import MEDIA_TYPES
from admit.web.manager import live, words
from admit.web.manager.pages import Page, page
from admit.web.manager.policy import tabs, ways_of
from admit.web.manager.policy_forms import name_of_way
from admit.web.task_types import RunPage

LEDGER = "/apps/{app}/policy/ledger"
ADMISSIONS = "/apps/{app}/admissions"
TAB = "Ledger"
ROWS = 50
EXPORTED_AT_ONCE = 500
FILTERS = ("search", "user", "verdict", "way_in", "code", "since", "until")
VERDICTS = (("", "Any verdict"), ("prod", "prod"), ("eval", "eval"), ("refused", "refused"), ("open", "open"))
CODES = ("USER_NOT_REGISTERED", "USER_NOT_ACCEPTED", "NO_SEATS_AVAILABLE", "WEBHOOK_ERROR")
POLICIES = {"webhook": "Web hook", "task": "Task", "domains": "Domains", "reject": "Reject all"}
WRITTEN = ("api", "import")


class Asked(msgspec.Struct, frozen=True):
    """What is looked for: as the page says it, and as the admin API is asked."""

    filters: dict[str, str]
    query: dict[str, object]


async def show(page: Page) -> Response:
    """A page of the ledger."""
    filters = {name: page.query(name) for name in FILTERS}
    app = await page.get("/apps/{app}", AppView)
    try:
        asked = Asked(filters, _query_of(filters))
        before = page.query("before") or None
        found = await page.get(ADMISSIONS, AdmissionPage, asked.query | {"limit": ROWS, "before": before})
        refused = None
    except InvalidRequest as error:
        found, refused = AdmissionPage(admissions=[], before=None), error
    return page.render(
        "ledger.html",
        status=page.status_of(refused),
        tabs=tabs(page),
        tab=TAB,
        filters=filters,
        filtered=any(filters.values()),
        refused="" if refused is None else refused.message,
        found=found,
        ways=[("", "Any way in"), *_ways(app)],
        verdicts=VERDICTS,
        codes=CODES,
        decided_by=decided_by,
        name_of_way=name_of_way,
        looked_back_to=_moment_of(found.before),
        command=_command(page, filters),
    )


async def show_one(page: Page) -> Response:
    """One decision, with what was asked and answered."""
    admission_id = page.param("admission")
    found = await page.get(f"{ADMISSIONS}/{{admission}}", AdmissionView, admission=admission_id)
    run = None
    if found.policy == "task" and page.may("tasks:read"):
        runs = await page.get("/apps/{app}/runs", RunPage, {"about": admission_id, "limit": 1})
        run = runs.runs[0] if runs.runs else None
    return page.render(
        "admission.html",
        tabs=tabs(page),
        tab=TAB,
        admission=found,
        run=run,
        decided_by=decided_by,
        name_of_way=name_of_way,
        written=found.way_in in WRITTEN,
    )


async def export(page: Page) -> Response:
    """What the filters find, as a file that is written while it is read: nothing of it is gathered here."""
    format_ = page.query("format")
    if format_ not in MEDIA_TYPES:
        raise InvalidRequest("The ledger is exported as csv or as jsonl.")
    query = _query_of({name: page.query(name) for name in FILTERS}) | {"limit": EXPORTED_AT_ONCE}
    first = await page.get(ADMISSIONS, AdmissionPage, query)
    name = f"{page.app}-ledger.{format_}"
    return StreamingResponse(
        _file(page, format_, query, first),
        media_type=MEDIA_TYPES[format_],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _file(
    page: Page, format_: Format, query: dict[str, object], first: AdmissionPage
) -> AsyncIterator[str]:
    yield admission_files.head(format_)
    found = first
    while True:
        yield admission_files.lines(found.admissions, format_)
        if found.before is None:
            return
        await live.require_signed_in(page)
        found = await page.get(ADMISSIONS, AdmissionPage, query | {"before": found.before})


def decided_by(admission: AdmissionView) -> str:
    """Who has decided, and by which version of the policy."""
    if admission.way_in in WRITTEN:
        return "An operator"
    who = POLICIES.get(admission.policy, f"Everybody {admission.policy}")
    if admission.code == "WEBHOOK_ERROR" or "because the" in admission.reason:
        who = "Failure rule"
    return f"{who}, version {admission.policy_version}"


def _ways(app: AppView) -> list[tuple[str, str]]:
    others = ((way, name_of_way(way)) for way in ("token_exchange", "enrollment_token", *WRITTEN))
    return [*ways_of(app), *others]


def _query_of(filters: dict[str, str]) -> dict[str, object]:
    """What the admin API is asked for. Raises InvalidRequest."""
    typed = filters["search"]
    return {
        "user": filters["user"] or None,
        "beginning": (typed.lower() if "@" in typed else typed) or None,
        "verdict": filters["verdict"] or None,
        "way_in": filters["way_in"] or None,
        "code": filters["code"].upper() or None,
        "since": _day("From", filters["since"]),
        "until": None if not filters["until"] else (_day("Until", filters["until"]) or 0) + DAY_MS,
    }


def _day(label: str, text: str) -> int | None:
    """The beginning of a day in UTC."""
    if not text:
        return None
    try:
        return round(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1_000)
    except ValueError:
        raise InvalidRequest(f"{label}: write a day like 2026-03-18.") from None


def _moment_of(before: str | None) -> str:
    return "" if before is None else words.full_time(int(before.partition(".")[0]))


def _command(page: Page, filters: dict[str, str]) -> list[Any]:
    said: list[Any] = ["admission", "list", page.app]
    for name, option in (
        ("search", "--search"),
        ("user", "--user"),
        ("verdict", "--verdict"),
        ("way_in", "--way-in"),
        ("code", "--code"),
    ):
        said += [option, filters[name]] if filters[name] else []
    return said


PAGES = (
    page("GET", LEDGER, show, nav="policy"),
    page("GET", f"{LEDGER}/export", export, nav="policy"),
    page("GET", f"{LEDGER}/{{admission}}", show_one, nav="policy"),
)
