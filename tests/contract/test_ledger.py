"""The ledger: searched by what is known of a decision, paged by key, shown whole, taken away as a file."""

from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from admit.accounts.apps import App
from admit.enrollment import ledger
from admit.enrollment.tables import admissions
from admit.storage.transaction import Transaction
from admit.web import admission_files
from admit.web.admin_types import AdmissionView
from tests.contract.served import Answered, Served

DECISIONS = 30
"""Of the odd ones people are refused, every fifth by a hook that failed; others come by google."""


@pytest.fixture
async def app(served: Served) -> App:
    made = await served.app()
    await served.gateway.db.write(lambda tx: _fill(tx, made))
    return made


def _fill(tx: Transaction, app: App) -> None:
    tx.execute(insert(admissions), [_row(app, number) for number in range(DECISIONS)])


def _row(app: App, number: int) -> dict[str, object]:
    refused = number % 2 == 1
    return {
        "app_id": app.app_id,
        "admission_id": f"adm_{number:03}",
        "user_id": f"{'bob' if number % 3 else 'ann'}{number}@example.com",
        "method": "sso" if number % 4 == 0 else "email_code",
        "way_in": "google" if number % 4 == 0 else "email_code",
        "claims": '{"hd":"example.com"}' if number % 4 == 0 else "",
        "policy": "webhook",
        "policy_version": 3,
        "input_digest": "digest",
        "fence": 1,
        "lease_until": 0,
        "opened_at": 1_000 + number,
        "settled_at": 1_000 + number,
        "verdict": "refused" if refused else "eval" if number % 6 == 0 else "prod",
        "code": ("WEBHOOK_ERROR" if number % 5 == 0 else "USER_NOT_ACCEPTED") if refused else "",
        "message": "No." if refused else "",
        "reason": "=SUM(A1)" if number == 1 else "The endpoint answered.",
        "late": "",
        "attempts": 1,
        "latency_ms": 12,
        "uid": None if refused else f"usr_{number}",
    }


async def api(served: Served, path: str) -> Answered:
    return await served.ask("GET", f"/api/apps/notes/admissions{path}", headers=served.command())


async def numbers(served: Served, query: str, limit: int = 4) -> list[int]:
    """Which decisions `query` finds, over all its pages."""
    found: list[int] = []
    before = ""
    for _ in range(200):
        page = (await api(served, f"?{query}&limit={limit}{before}")).json
        assert len(page["admissions"]) <= limit
        found += [int(each["admission_id"][4:]) for each in page["admissions"]]
        if page["before"] is None:
            return found
        before = f"&before={page['before']}"
    raise AssertionError("The pages have no end.")


def those(meant: Any) -> list[int]:
    return [number for number in reversed(range(DECISIONS)) if meant(number)]


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ("", lambda n: True),
        ("verdict=refused", lambda n: n % 2 == 1),
        ("verdict=eval", lambda n: n % 6 == 0),
        ("verdict=open", lambda n: False),
        ("code=WEBHOOK_ERROR", lambda n: n % 2 == 1 and n % 5 == 0),
        ("code=WEBHOOK_ERROR&verdict=refused&way_in=email_code", lambda n: n % 2 == 1 and n % 5 == 0),
        ("way_in=google", lambda n: n % 4 == 0),
        ("way_in=google&verdict=eval", lambda n: n % 12 == 0),
        ("way_in=google&verdict=refused", lambda n: False),
        ("since=1010&until=1013", lambda n: 10 <= n < 13),
        ("since=1010&until=1020&verdict=refused", lambda n: 10 <= n < 20 and n % 2 == 1),
        ("user=ann6@example.com", lambda n: n == 6),
        ("user=ann6@example.com&verdict=refused", lambda n: False),
    ],
)
@pytest.mark.parametrize("looked_at", [2_000, 7])
async def test_search_finds_what_is_meant_over_all_pages(
    served: Served, app: App, monkeypatch: pytest.MonkeyPatch, query: str, meant: Any, looked_at: int
) -> None:
    monkeypatch.setattr(ledger, "LOOKED_AT_MAX", looked_at)
    assert await numbers(served, query) == those(meant)


@pytest.mark.parametrize("looked_at", [2_000, 7])
async def test_beginning_of_a_user_id_finds_by_person(
    served: Served, app: App, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    monkeypatch.setattr(ledger, "LOOKED_AT_MAX", looked_at)
    people = sorted(those(lambda n: n % 3 == 0), key=lambda n: f"ann{n}@example.com")
    assert await numbers(served, "beginning=ann") == people
    assert await numbers(served, "beginning=ann1&verdict=prod") == [
        n for n in people if n in (10, 12, 14, 16) and n % 6
    ]
    assert await numbers(served, "beginning=ann&since=1003&until=1007") == [3, 6]
    assert await numbers(served, "beginning=nobody") == []


async def test_page_looks_at_no_more_than_it_may(
    served: Served, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LOOKED_AT_MAX", 7)
    page = (await api(served, "?verdict=open")).json
    assert page == {"admissions": [], "before": "1023.adm_023"}


@pytest.mark.parametrize("query", ["verdict=maybe", "beginning=", "code=", "since=-1", "limit=0", "before=x"])
async def test_search_that_means_nothing_is_refused(served: Served, app: App, query: str) -> None:
    answer = await api(served, f"?{query}")
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_one_decision_is_shown_whole(served: Served, app: App) -> None:
    shown = (await api(served, "/adm_004")).json
    assert (shown["user_id"], shown["way_in"], shown["claims"]) == (
        "bob4@example.com",
        "google",
        {"hd": "example.com"},
    )
    listed = (await api(served, "?user=bob4@example.com")).json["admissions"]
    assert listed == [shown]


async def test_decision_that_is_not_there_is_not_found(served: Served, app: App) -> None:
    await served.app("others")
    for path in ("/api/apps/notes/admissions/adm_999", "/api/apps/others/admissions/adm_004"):
        answer = await served.ask("GET", path, headers=served.command())
        assert (answer.status, answer.json["code"]) == (404, "admission_not_found")


async def test_file_is_read_back_as_it_was_told_and_runs_nothing(served: Served, app: App) -> None:
    told = [
        msgspec.convert(each, AdmissionView) for each in (await api(served, "?until=1005")).json["admissions"]
    ]
    json_lines = admission_files.lines(told, "jsonl").splitlines()
    assert [msgspec.json.decode(line, type=AdmissionView) for line in json_lines] == told
    text = admission_files.head("csv") + admission_files.lines(told, "csv")
    head, *rows = text.splitlines()
    assert head.split(",")[:3] == ["admission_id", "user_id", "method"]
    assert len(rows) == 5
    assert "1970-01-01T00:00:01.004Z" in rows[0]
    assert '"{""hd"":""example.com""}"' in rows[0]
    assert "'=SUM(A1)" in rows[3]
