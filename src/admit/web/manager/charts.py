"""Charts as numbers for SVG: columns that stack and lines, in a box of 100 units of height. Pure."""

from collections.abc import Sequence

import msgspec

HEIGHT = 100.0
STEP = 14.0
"""From one column to the next; templates draw 10 of it."""
LINES_MAX = 4
_STEPS = (1, 2, 5)


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """What stands over one place: `values` from the bottom to the top. `title` tells them in words."""

    title: str
    values: Sequence[int]


class Part(msgspec.Struct, frozen=True):
    """A rectangle of the series `series`, 1 being the first."""

    series: int
    x: str
    y: str
    height: str


class Bar(msgspec.Struct, frozen=True):
    """A column, and what is read of it."""

    title: str
    x: str
    parts: list[Part]


class Axis(msgspec.Struct, frozen=True):
    """`top` is the number at the upper edge; `ticks` are all numbers, the upper one first, `lines` where."""

    top: int
    ticks: list[int]
    lines: list[str]


class Columns(msgspec.Struct, frozen=True):
    """A chart of columns. `width`: of its box."""

    width: str
    axis: Axis
    bars: list[Bar]


class Lines(msgspec.Struct, frozen=True):
    """A chart of lines: the `d` of a path for each series."""

    width: str
    axis: Axis
    paths: list[str]


def columns(given: Sequence[Column]) -> Columns:
    """A chart of columns that stack."""
    axis = axis_for(max((sum(each.values) for each in given), default=0))
    bars = []
    for place, column in enumerate(given):
        x, top, parts = _text(place * STEP), HEIGHT, list[Part]()
        for series, value in enumerate(column.values, 1):
            height = value / axis.top * HEIGHT
            top -= height
            if value:
                parts.append(Part(series, x, _text(top), _text(height)))
        bars.append(Bar(column.title, x, parts))
    return Columns(_text(max(1, len(given)) * STEP), axis, bars)


def lines(series: Sequence[Sequence[int | None]]) -> Lines:
    """A chart of lines through the numbers that there are, each over the middle of its place."""
    numbers = [value for each in series for value in each if value is not None]
    axis = axis_for(max(numbers, default=0))
    places = max((len(each) for each in series), default=0)
    return Lines(_text(max(1, places) * STEP), axis, [_path(each, axis.top) for each in series])


def axis_for(highest: int) -> Axis:
    """Round numbers, at most LINES_MAX above 0, of which the upper one is not below `highest`."""
    step, power = 1, 0
    while step * LINES_MAX < highest:
        power += 1
        step = _STEPS[power % len(_STEPS)] * 10 ** (power // len(_STEPS))
    number = max(1, -(-highest // step))
    return Axis(
        step * number,
        [step * each for each in range(number, -1, -1)],
        [_text(HEIGHT * each / number) for each in range(number + 1)],
    )


def _path(values: Sequence[int | None], top: int) -> str:
    points = [
        (place * STEP + STEP / 2, HEIGHT - value / top * HEIGHT)
        for place, value in enumerate(values)
        if value is not None
    ]
    if len(points) == 1:  # a point is no line
        [(x, y)] = points
        points = [(x - STEP / 2, y), (x + STEP / 2, y)]
    return " ".join(f"{'L' if place else 'M'}{_text(x)},{_text(y)}" for place, (x, y) in enumerate(points))


def _text(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
