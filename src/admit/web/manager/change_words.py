"""How a change of an operator is told: its outcome, and what differs between before and after. Pure."""

import difflib
from collections.abc import Iterator
from typing import Any

import msgspec

from admit.web.changes_api import ChangeView
from admit.web.manager.rendering import pretty_json

SUCCESS = range(200, 400)
DIFFERENCES_MAX = 200
TEXT_CHARACTERS_MAX = 300
AROUND_LINES = 3


class Outcome(msgspec.Struct, frozen=True):
    """A word and its tone."""

    word: str
    tone: str


class Difference(msgspec.Struct, frozen=True):
    """A value that differs. `before` or `after` None: it was not there."""

    place: str
    before: str | None
    after: str | None


class Line(msgspec.Struct, frozen=True):
    """A line of JSON. `differs`: the other side has it not."""

    text: str
    differs: bool


def outcome(change: ChangeView) -> Outcome:
    """How it came out."""
    match change.status:
        case None:
            return Outcome("Unknown", "warn")
        case status if status in SUCCESS:
            return Outcome("Tested" if change.kind == "test" else "Done", "good")
        case status if status < 500:
            return Outcome("Refused", "bad")
        case _:
            return Outcome("Failed", "bad")


def differences(before: Any, after: Any) -> list[Difference]:
    """What differs, the place of each value written as `settings.eval_days`; DIFFERENCES_MAX at most."""
    found: list[Difference] = []
    for each in _walk("", before, after):
        found.append(each)
        if len(found) == DIFFERENCES_MAX:
            break
    return found


def sides(before: Any, after: Any) -> tuple[list[Line], list[Line]]:
    """Both as lines of JSON, those marked that the other has not; of the others only those around them."""
    old, new = pretty_json(before).split("\n"), pretty_json(after).split("\n")
    groups = list(difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(AROUND_LINES))
    if not groups or before is None or after is None:
        return [Line(text, False) for text in old], [Line(text, False) for text in new]
    left: list[Line] = []
    right: list[Line] = []
    shown = 0
    for group in groups:
        for side in (left, right):
            side += _left_out(group[0][1] - shown)
        for kind, i1, i2, j1, j2 in group:
            left += [Line(text, kind != "equal") for text in old[i1:i2]]
            right += [Line(text, kind != "equal") for text in new[j1:j2]]
        shown = group[-1][2]
    for side in (left, right):
        side += _left_out(len(old) - shown)
    return left, right


def _left_out(lines: int) -> list[Line]:
    return [Line(f"… {lines} {'line' if lines == 1 else 'lines'} the same", False)] if lines else []


def _walk(place: str, before: Any, after: Any) -> Iterator[Difference]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in {**before, **after}:
            there = f"{place}.{name}" if place else name
            if name not in before:
                yield Difference(there, None, _text(after[name]))
            elif name not in after:
                yield Difference(there, _text(before[name]), None)
            else:
                yield from _walk(there, before[name], after[name])
    elif _are_sets(before, after):
        for value in before:
            if value not in after:
                yield Difference(place, _text(value), None)
        for value in after:
            if value not in before:
                yield Difference(place, None, _text(value))
    else:
        yield Difference(place, _text(before), _text(after))


def _are_sets(before: Any, after: Any) -> bool:
    """Whether both are lists in which an item was added or taken away."""
    return isinstance(before, list) and isinstance(after, list)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) and value else msgspec.json.encode(value).decode()
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[:TEXT_CHARACTERS_MAX] + "…"
