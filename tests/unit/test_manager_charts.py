"""Charts: what is drawn is what was counted."""

import pytest

from admit.web.manager.charts import Column, axis_for, columns, lines


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (0, [1, 0]),
        (1, [1, 0]),
        (4, [4, 3, 2, 1, 0]),
        (5, [6, 4, 2, 0]),
        (9, [10, 5, 0]),
        (240, [300, 200, 100, 0]),
        (251, [300, 200, 100, 0]),
        (1_000_000, [1_000_000, 500_000, 0]),
    ],
)
def test_axis_ends_above_the_highest_with_round_numbers(highest: int, ticks: list[int]) -> None:
    axis = axis_for(highest)
    assert axis.ticks == ticks
    assert axis.top == ticks[0] >= highest
    assert len(axis.lines) == len(ticks)


def test_parts_of_a_column_stand_on_each_other() -> None:
    chart = columns([Column(title="Mon", values=(2, 0, 1)), Column(title="Tue", values=(0, 0, 0))])
    assert chart.axis.top == 3
    first, second = chart.bars
    assert [(part.series, part.y, part.height) for part in first.parts] == [
        (1, "33.3", "66.7"),
        (3, "0", "33.3"),
    ]
    assert (second.x, second.parts) == ("14", [])
    assert chart.width == "28"


def test_line_goes_through_the_numbers_that_there_are() -> None:
    chart = lines([[None, 100, None, 50], [None, None, None, None]])
    assert chart.paths == ["M21,0 L49,50", ""]


def test_single_number_is_seen_too() -> None:
    assert lines([[None, 100]]).paths == ["M14,0 L28,0"]


def test_nothing_at_all_is_a_chart_without_bars() -> None:
    assert columns([]).bars == []
    assert lines([]).paths == []
