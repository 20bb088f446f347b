"""The log of a run: lines with a level and fields, bounded, and without the values of its variables."""

from collections.abc import Mapping
from typing import Any

from admit.task.environment import Masking
from admit.task.stage import Stage
from admit.task.wire import Level, Said

LINE_CHARACTERS_MAX = 8_000
LINES_MAX = 1_000
LINES_BYTES_MAX = 1_000_000
FIELDS_MAX = 32
FIELD_CHARACTERS_MAX = 1_000
FIELD_NAME_CHARACTERS_MAX = 64
INTEGER_MAX = 2**63 - 1


class Log:
    """What the run says. Fields are texts, numbers, booleans or None; of others, what str() says.

    A line ends after 8,000 characters. Behind 1,000 lines, or 1 MB of them, nothing is kept but the number of
    lines that were dropped. Values of the task's variables are masked.
    """

    __slots__ = ("_bytes", "_dropped", "_lines", "_masking", "_stage")

    def __init__(self, stage: Stage, masking: Masking) -> None:
        self._stage = stage
        self._masking = masking
        self._lines: list[Said] = []
        self._bytes = 0
        self._dropped = 0

    @property
    def lines(self) -> tuple[Said, ...]:
        """What was said so far."""
        return tuple(self._lines)

    def debug(self, text: object, **fields: object) -> None:
        """Says something that helps to find an error."""
        self.say("debug", text, fields)

    def info(self, text: object, **fields: object) -> None:
        """Says something that went as it should."""
        self.say("info", text, fields)

    def warning(self, text: object, **fields: object) -> None:
        """Says something that somebody should look at."""
        self.say("warning", text, fields)

    def error(self, text: object, **fields: object) -> None:
        """Says something that went wrong."""
        self.say("error", text, fields)

    def say(self, level: Level, text: object, fields: Mapping[str, object]) -> None:
        """Says a line at `level`."""
        line = Said(
            at=self._stage.now(),
            level=level,
            text=self._masking.masked(text_of(text), LINE_CHARACTERS_MAX),
            fields={} if not fields else self._told(fields),
        )
        size = len(line.text.encode()) + sum(_size(pair) for pair in line.fields.items())
        if len(self._lines) >= LINES_MAX or self._bytes + size > LINES_BYTES_MAX:
            self._dropped += 1
            return
        self._bytes += size
        self._lines.append(line)
        self._stage.say(line)

    def close(self) -> None:
        """Says how many lines were dropped, if any were."""
        if not self._dropped:
            return
        text = f"The log of this run is full: {self._dropped:,} more lines were dropped."
        self._stage.say(Said(at=self._stage.now(), level="warning", text=text))
        self._dropped = 0

    def _told(self, fields: Mapping[str, object]) -> dict[str, Any]:
        some = list(fields.items())[:FIELDS_MAX]
        return {text_of(name)[:FIELD_NAME_CHARACTERS_MAX]: self._value(value) for name, value in some}

    def _value(self, value: object) -> str | int | float | bool | None:
        text = self._masking.masked(text_of(value), FIELD_CHARACTERS_MAX)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, float):
            return float(value)
        if isinstance(value, int) and abs(value) <= INTEGER_MAX and text == text_of(value):
            return int(value)
        return text


def text_of(value: object) -> str:
    """What str() says of `value`, as far as it can be kept: without NUL and halves of surrogate pairs."""
    try:
        text = str(value)
    except Exception as error:  # a log must not be the end of a run
        text = f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _size(pair: tuple[str, Any]) -> int:
    name, value = pair
    return len(name.encode()) + len(str(value).encode())
