"""What differs between before and after, and how a change came out."""

import pytest

from admit.web.changes_api import ChangeView
from admit.web.manager.change_words import DIFFERENCES_MAX, Difference, differences, outcome, sides


def change(status: int | None, kind: str = "change") -> ChangeView:
    return ChangeView(
        change_id="chg_1",
        app=None,
        at=1,
        who_kind="operator",
        who_id="opr_1",
        who="noor@example.com",
        address="",
        kind=kind,  # type: ignore[arg-type]
        summary="",
        method="PUT",
        path="/",
        status=status,
        code="",
        ended_at=None,
    )


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [
        (200, "change", "Done"),
        (204, "change", "Done"),
        (200, "test", "Tested"),
        (409, "change", "Refused"),
        (503, "change", "Failed"),
        (None, "change", "Unknown"),
    ],
)
def test_outcome_is_one_word(status: int | None, kind: str, word: str) -> None:
    assert outcome(change(status, kind)).word == word


def test_values_that_differ_are_named_by_their_place() -> None:
    before = {"settings": {"eval_days": 30, "mail": ""}, "name": "notes", "gone": 1}
    after = {"settings": {"eval_days": 14, "mail": ""}, "name": "notes", "new": None}
    assert differences(before, after) == [
        Difference("settings.eval_days", "30", "14"),
        Difference("gone", "1", None),
        Difference("new", None, "null"),
    ]


def test_list_tells_what_came_and_what_went() -> None:
    assert differences({"owners": ["a", "b"]}, {"owners": ["b", "c"]}) == [
        Difference("owners", "a", None),
        Difference("owners", None, "c"),
    ]


def test_differences_are_bounded() -> None:
    many = {str(number): number for number in range(DIFFERENCES_MAX + 50)}
    assert len(differences({}, many)) == DIFFERENCES_MAX
    assert differences({"a": "x" * 1_000}, {"a": ""})[0].before == "x" * 300 + "…"


def test_sides_show_what_differs_and_what_is_around() -> None:
    before = {f"name{number:02}": number for number in range(30)}
    after = before | {"name15": 99}
    left, right = sides(before, after)
    assert [each.text.strip() for each in left if each.differs] == ['"name15": 15,']
    assert [each.text.strip() for each in right if each.differs] == ['"name15": 99,']
    assert [each.text for each in left if each.text.startswith("…")] == [
        "… 13 lines the same",
        "… 12 lines the same",
    ]
    assert len(left) == len(right) == 9


def test_sides_of_what_was_not_there_are_whole() -> None:
    left, right = sides(None, {"a": 1})
    assert [each.text for each in left] == ["null"]
    assert not any(each.differs for each in right)
    assert len(right) == 3
