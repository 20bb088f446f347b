"""The pages of the ledger: searched, paged, shown whole, and taken away as a file."""

import csv
import io
from collections.abc import AsyncIterator

import msgspec
import pytest

from admit.accounts.apps import App
from admit.enrollment import ledger
from admit.web.admin_types import AdmissionView
from tests.contract.manager_pages import Operator, Shown, signed_in
from tests.contract.served import Served
from tests.contract.test_ledger import DECISIONS, app

__all__ = ["app"]

LEDGER = "/apps/notes/policy/ledger"


@pytest.fixture
async def operator(served: Served, app: App) -> AsyncIterator[Operator]:
    async with signed_in(served) as hands:
        yield hands


def people_of(page: Shown) -> list[str]:
    """Whose decisions are listed, in order."""
    return [text for text, href in page.links.items() if "/policy/ledger/adm_" in href]


async def test_ledger_is_paged_by_key_without_script(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admit.web.manager.ledger.ROWS", 20)
    first = await operator.get(LEDGER)
    assert len(people_of(first)) == 20
    assert people_of(first)[0] == f"bob{DECISIONS - 1}@example.com"
    second = await operator.get(first.links["Older"])
    assert people_of(second)[-1] == "ann0@example.com"
    assert len(people_of(second)) == 10
    assert "Older" not in second.links
    assert people_of(await operator.get(second.links["Newest"])) == people_of(first)


@pytest.mark.parametrize(
    ("query", "people"),
    [
        ("verdict=eval", ["ann24", "ann18", "ann12", "ann6", "ann0"]),
        ("code=webhook_error", ["bob25", "ann15", "bob5"]),
        ("way_in=google&verdict=eval", ["ann24", "ann12", "ann0"]),
        ("search=Ann1@", []),
        ("search=ann1", ["ann12", "ann15", "ann18"]),
        ("user=ann12@example.com", ["ann12"]),
        ("since=1970-01-01&until=1970-01-01&verdict=eval&search=ann2", ["ann24"]),
        ("since=1970-01-02", []),
    ],
)
async def test_filters_find_what_they_say(operator: Operator, query: str, people: list[str]) -> None:
    page = await operator.get(f"{LEDGER}?{query}")
    assert page.status == 200
    assert people_of(page) == [f"{each}@example.com" for each in people]
    if not people:
        assert "No decision is like that" in page.text


async def test_search_says_how_far_it_has_looked(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LOOKED_AT_MAX", 3)
    page = await operator.get(f"{LEDGER}?verdict=eval")
    assert "Nothing found so far" in page.text
    assert "back to 1 Jan 1970, 00:00 UTC" in page.text
    further = await operator.get(page.links["Look further back"])
    assert people_of(further) == ["ann24@example.com"]
    assert "Searched back to" in further.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=yesterday", "From: write a day like 2026-03-18."),
        ("until=2026-02-30", "Until: write a day"),
        ("verdict=maybe", "verdict"),
        ("before=x", "before is not what an earlier page has given."),
    ],
)
async def test_search_that_means_nothing_is_refused_in_place(
    operator: Operator, query: str, said: str
) -> None:
    page = await operator.get(f"{LEDGER}?{query}")
    assert page.status == 400
    assert said in page.text


async def test_decision_is_shown_with_what_was_asked_and_answered(operator: Operator) -> None:
    page = await operator.get(LEDGER)
    failed = await operator.get(page.links["ann15@example.com"])
    for said in (
        "Nobody could decide",
        "Failure rule, version 3",
        "webhook, version 3",
        "1 attempt, 12 ms",
        "adm_015",
        "WEBHOOK_ERROR",
        "The person read No.",
        "admit admission show notes adm_015",
    ):
        assert said in failed.text, said
    by_google = await operator.get(page.links["ann24@example.com"])
    assert '"hd"' in by_google.text
    assert "google (single sign-on)" in by_google.text
    assert by_google.links["Show the person"] == "/manager/apps/notes/people/ann24%40example.com"
    assert (await operator.get(f"{LEDGER}/adm_999")).status == 404


@pytest.mark.parametrize("portion", [500, 7])
async def test_ledger_is_taken_away_as_it_is_filtered(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    monkeypatch.setattr("admit.web.manager.ledger.EXPORTED_AT_ONCE", portion)
    page = await operator.get(f"{LEDGER}?verdict=refused")
    lines = await operator.get(page.links["JSON lines, as filtered"])
    told = [msgspec.json.decode(line, type=AdmissionView) for line in lines.html.splitlines()]
    assert {each.verdict for each in told} == {"refused"}
    assert len(told) == DECISIONS // 2
    assert lines.headers["Content-Disposition"] == 'attachment; filename="notes-ledger.jsonl"'
    table = await operator.get(page.links["CSV, as filtered"])
    rows = list(csv.DictReader(io.StringIO(table.html, newline="")))
    assert [each["admission_id"] for each in rows] == [each.admission_id for each in told]
    assert rows[-1]["reason"] == "'=SUM(A1)"
    assert (await operator.get(f"{LEDGER}/export?format=xml")).status == 400


async def test_empty_ledger_says_what_will_appear(served: Served) -> None:
    await served.app("empty")
    async with signed_in(served) as operator:
        page = await operator.get("/apps/empty/policy/ledger")
    assert "Nobody unknown has come yet" in page.text
    assert page.links["Simulate a person"] == "/manager/apps/empty/policy/simulate"


async def test_support_reads_the_ledger_of_people(served: Served, app: App) -> None:
    async with signed_in(served, "support") as hands:
        assert (await hands.get(LEDGER)).status == 200
        assert (await hands.get(f"{LEDGER}/export?format=csv")).status == 200
