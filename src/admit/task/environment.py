"""The variables that a task is given, and how their values are kept out of what it says."""

import re
from collections.abc import Iterator, Mapping, Sequence

MASK = "***"
MASKED_CHARACTERS_MIN = 4
"""Shorter values are not masked: they would be found in any text."""
MASKED_LINE_CHARACTERS_MIN = 8
"""Of a value of several lines, such as a key in PEM, each line of so many characters is masked by itself."""


class Env(Mapping[str, str]):
    """The variables that the task has asked for by `env=[…]`, as far as they are set.

    Shown as text it tells the names alone.
    """

    __slots__ = ("_declared", "_values")

    def __init__(self, values: Mapping[str, str], declared: Sequence[str] = ()) -> None:
        self._values = dict(values)
        self._declared = tuple(declared)

    def __getitem__(self, name: str) -> str:
        """The value. Raises KeyError, with a sentence that says what to do."""
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(_how_to_get(name, self._declared)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __repr__(self) -> str:
        return f"Env({', '.join(sorted(self._values))})"


class Masking:
    """Replaces the values of variables in texts that leave the process."""

    __slots__ = ("_secret",)

    def __init__(self, values: Mapping[str, str]) -> None:
        forms = sorted({form for value in values.values() for form in _forms(value)}, key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, forms))) if forms else None

    def masked(self, text: str, characters_max: int) -> str:
        """The beginning of `text`, with values masked: no part of one is left at the end."""
        if self._secret is None or self._secret.search(text) is None:
            return text[:characters_max]
        parts: list[str] = []
        shown = at = 0
        for found in self._secret.finditer(text):
            parts += (text[at : min(found.start(), at + characters_max)], MASK)
            shown += len(parts[-2]) + len(MASK)
            at = found.end()
            if shown >= characters_max:
                return "".join(parts)[:characters_max]
        return ("".join(parts) + text[at : at + characters_max])[:characters_max]


def _forms(value: str) -> Iterator[str]:
    """How `value` may stand in a text: as it is, as Python writes it in quotes, in a URL, line by line."""
    if len(value) < MASKED_CHARACTERS_MIN:
        return
    yield value
    yield repr(value)[1:-1]
    if not value.isalnum():
        from urllib.parse import quote, quote_plus

        yield quote(value, safe="", errors="replace")
        yield quote_plus(value, errors="replace")
    for line in value.splitlines():
        if len(line.strip()) >= MASKED_LINE_CHARACTERS_MIN:
            yield line.strip()


def _how_to_get(name: str, declared: Sequence[str]) -> str:
    if name in declared:
        return f"{name} is not set. Set it with `admit task env set`."
    return f"{name} is not among the variables of this task. Add it: env=[{name!r}]."
