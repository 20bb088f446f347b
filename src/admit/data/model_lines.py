"""Where in a text of TOML something stands, as near as can be told. Pure.

tomllib keeps no places. This looks for headers and keys line by line, which is right for whatever is written
in one line each; else it is the line of what is around it.
"""

import re
from collections import Counter

Place = tuple[str | int, ...]

_NAME = r"""[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*'"""
_NAMES = rf"(?:{_NAME})(?:\s*\.\s*(?:{_NAME}))*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_NAMES})\s*\]")
_KEY = re.compile(rf"\s*({_NAMES})\s*=")
_EACH = re.compile(_NAME)


class Lines:
    """The lines of a text at which tables and keys begin."""

    def __init__(self, source: str) -> None:
        self._lines: dict[Place, int] = {}
        counts: Counter[Place] = Counter()
        here: Place = ()
        for number, line in enumerate(source.split("\n"), 1):
            if header := _HEADER.match(line):
                here = self._under(_names(header[2]), counts)
                if header[1] == "[[":
                    plain = here
                    here = (*here, counts[plain])
                    counts[plain] += 1
                for length in range(1, len(here) + 1):
                    self._lines.setdefault(here[:length], number)
            elif key := _KEY.match(line):
                self._lines.setdefault((*here, *_names(key[1])), number)

    def of(self, place: Place) -> int:
        """The line of `place`, or of the nearest thing around it; 0: nowhere."""
        for length in range(len(place), 0, -1):
            if (line := self._lines.get(place[:length])) is not None:
                return line
        return 0

    def _under(self, names: Place, counts: "Counter[Place]") -> Place:
        """`names` of a header, with the number of the last element behind each that is an array of tables."""
        found: Place = ()
        for place, name in enumerate(names):
            found = (*found, name)
            if counts[found] and place < len(names) - 1:
                found = (*found, counts[found] - 1)
        return found


def _names(text: str) -> Place:
    return tuple(each.strip("\"'") for each in _EACH.findall(text))
