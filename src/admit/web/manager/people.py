"""/apps/APP/people: everybody who lives in the app, a page at a time; creating and exporting them."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.responses import Response, StreamingResponse

from admit.accounts.people_files import Format, write_people
from admit.accounts.user_edits import UserChange
from admit.errors import AdmitError, Conflict, InvalidRequest, NotFound
from admit.web.admin_types import AppView
from admit.web.manager import live
from admit.web.manager.pages import Page, page
from admit.web.manager.typed_json import read_object
from admit.web.people_replies import People, Person, line_of
from admit.web.sessions_types import Users
from admit.web.users_api import Ok

PAGE_PEOPLE = 50
EXPORT_PEOPLE = 500
TOTAL_SECONDS_MAX = 0.03
"""A page does not wait longer for how many there are: an app of a million is counted once, and told later."""

SORTS = (
    ("-created", "Newest first"),
    ("created", "Oldest first"),
    ("-lastLogin", "Last login"),
    ("userId", "User ID"),
    ("displayName", "Name"),
    ("-updated", "Changed last"),
    ("evalDaysLeft", "Fewest days left"),
    ("validUntil", "Valid until, soonest first"),
)
TYPES = (("", "Any type"), ("prod", "prod"), ("eval", "eval"), ("demo", "demo"))
STANDINGS = (("", "Any standing"), ("active", "Active"), ("deactivated", "Deactivated"))
MEDIA_TYPES: Mapping[Format, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to be shown, as the address of the page says it."""

    q: str = ""
    type: str = ""
    standing: str = ""
    sort: str = SORTS[0][0]
    key: str = ""
    back: bool = False

    @property
    def filters(self) -> dict[str, str]:
        """The fields of the address that are not where they are by themselves, without the place."""
        sort = "" if self.sort == SORTS[0][0] else self.sort
        return {"q": self.q, "type": self.type, "standing": self.standing, "sort": sort}

    @property
    def filtered(self) -> bool:
        """Whether some people are left out."""
        return bool(self.q or self.type or self.standing)

    @property
    def query(self) -> dict[str, object]:
        """The query of the admin API."""
        return {
            "search": self.q,
            "type": self.type or None,
            "active": {"active": True, "deactivated": False}.get(self.standing),
            "sort": self.sort.removeprefix("-"),
            "desc": self.sort.startswith("-"),
            "paging_key": self.key or None,
            "back": self.back,
        }


async def show(page: Page) -> Response:
    """The people of an app, or those who are searched for."""
    wanted = _wanted(page)
    asked = page.get("/apps/{app}/users", People, query=wanted.query | {"limit": PAGE_PEOPLE})
    found, total = await page.together(asked, _total(page))
    values = {
        "wanted": wanted,
        "people": found.users,
        "next": _place(page, wanted, found.paging_key, back=False),
        "previous": _place(page, wanted, found.back_key, back=True),
        "total": total,
        "sorts": SORTS,
        "types": TYPES,
        "standings": STANDINGS,
        "command": _command(page, wanted),
    }
    if page.wants_fragment:
        return page.render_block("people.html", "found", **values)
    return page.render("people.html", **values)


async def show_new(page: Page) -> Response:
    """The form for a new person."""
    return await _new(page, {"type": "prod", "user_id": page.query("user_id")})


async def create(page: Page) -> Response:
    """Creates a person."""
    form = page.form
    typed = {name: form.verbatim(name) for name in ("user_id", "type", "eval_days", "valid_until", "data")}
    user_id = form.text("user_id")
    try:
        change = UserChange(
            user_id=user_id,
            type=form.text("type"),
            eval_days_left=_or_unset(form.integer("eval_days", "Days of the trial")),
            valid_until=form.text("valid_until") or UNSET,
            data=_data(typed["data"]),
        )
        if not user_id:
            raise InvalidRequest("Whom? Type a user ID, such as ada@example.com.")
        await _refuse_known(page, user_id)
        await page.send("POST", "/apps/{app}/users", Ok, [change])
    except (InvalidRequest, Conflict) as error:
        return await _new(page, typed, error)
    return page.done(page.here("people", user_id), f"{user_id} is created.")


async def export(page: Page) -> Response:
    """All people, or those who are searched for, as a file that an import reads."""
    wanted, format_ = _wanted(page), _format(page.query("format"))
    query = wanted.query | {"limit": EXPORT_PEOPLE, "paging_key": None, "back": False}
    first = await page.get("/apps/{app}/users", People, query=query)
    name = f"{page.app}-people.{format_}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(
        _lines(page, query, first, format_), media_type=MEDIA_TYPES[format_], headers=headers
    )


def _wanted(page: Page) -> Wanted:
    wanted = Wanted(
        q=page.query("q"),
        type=page.query("type"),
        standing=page.query("standing"),
        sort=page.query("sort") or SORTS[0][0],
        key=page.query("key"),
        back=page.query("back") == "true",
    )
    if wanted.sort not in dict(SORTS) or wanted.standing not in dict(STANDINGS):
        raise InvalidRequest("The address asks for an order or a standing that there is not.")
    return wanted


def _place(page: Page, wanted: Wanted, key: str | None, *, back: bool) -> str:
    """The address of another page of the same people; "": there is none."""
    if key is None:
        return ""
    return page.here("people", **wanted.filters, key=key, back="true" if back else "")


def _command(page: Page, wanted: Wanted) -> list[str]:
    """The command that lists the same people."""
    words = ["user", "list", page.app]
    if wanted.q:
        words += ["--search", wanted.q]
    if wanted.type:
        words += ["--type", wanted.type]
    words += ["--sort", wanted.sort.removeprefix("-")]
    return [*words, "--desc"] if wanted.sort.startswith("-") else words


async def _total(page: Page) -> int | None:
    """How many people there are, where that is known by now."""
    asked = page.get("/v4/{app}/users", Users, query={"limit": 1})
    try:
        async with asyncio.timeout(TOTAL_SECONDS_MAX):
            return (await asked).total
    except (TimeoutError, AdmitError):
        return None


async def _new(page: Page, typed: Mapping[str, str], refused: AdmitError | None = None) -> Response:
    app = await page.get("/apps/{app}", AppView)
    usual = {"user_id": "", "type": "prod", "eval_days": "", "valid_until": "", "data": ""}
    return page.render(
        "person_new.html",
        status=page.status_of(refused),
        app=app,
        typed=usual | dict(typed),
        problem="" if refused is None else without_entry(refused.message),
    )


async def _refuse_known(page: Page, user_id: str) -> None:
    """A change would change whoever is there already."""
    try:
        await page.get("/apps/{app}/users/{user_id}", Person, user_id=user_id)
    except NotFound:
        return
    raise Conflict(f"{user_id} lives here already. Open their page to change them.")


def without_entry(sentence: str) -> str:
    """What the API says of the one entry of an array, without its number."""
    return sentence.removeprefix("Entry 0: ")


def _data(text: str) -> msgspec.Raw | Any:
    """What was typed as the data, which stays as it was typed. Raises InvalidRequest."""
    if not text.strip():
        return UNSET
    read_object(text)
    return msgspec.Raw(text.strip().encode())


def _or_unset(value: int | None) -> Any:
    return UNSET if value is None else value


def _format(text: str) -> Format:
    for format_ in MEDIA_TYPES:
        if format_ == text:
            return format_
    raise InvalidRequest("A file of people is csv or jsonl.")


async def _lines(
    page: Page, query: Mapping[str, object], first: People, format_: Format
) -> AsyncIterator[str]:
    """The file, page by page, as fast as it is read."""
    found, begins = first, True
    while True:
        stream = io.StringIO(newline="")
        write_people(map(line_of, found.users), format_, stream, head=begins)
        yield stream.getvalue()
        if found.paging_key is None:
            return
        await live.require_signed_in(page)
        asked = {**query, "paging_key": found.paging_key}
        found, begins = await page.get("/apps/{app}/users", People, query=asked), False


PAGES = (
    page("GET", "/apps/{app}/people", show, nav="people"),
    page("GET", "/apps/{app}/new-person", show_new, nav="people"),
    page("POST", "/apps/{app}/new-person", create, nav="people"),
    page("GET", "/apps/{app}/people-export", export, nav="people"),
)
