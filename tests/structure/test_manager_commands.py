"""Every command that a page of the Manager shows is one that can be typed."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from admit.cli.commands import root
from tests.structure.source import ROOT

TEMPLATES = ROOT / "src/admit/web/manager/templates"
GUIDE = ROOT / "docs/guides/manager.md"


@cache
def commands() -> Any:
    """All commands, read once."""
    return root()


def shown() -> Iterator[tuple[str, list[str]]]:
    """Where commands are shown, and their words up to the first that is not written out."""
    for path in sorted(TEMPLATES.glob("*.html")):
        for found in re.finditer(r'part\.command\(((?:"[^"]*",? ?)+)', path.read_text()):
            yield path.name, re.findall(r'"([^"]*)"', found[1])
    for words in re.findall(r"`admit ([^`]+)`", GUIDE.read_text()):
        yield GUIDE.name, words.split()


@pytest.mark.parametrize(("place", "words"), list(shown()))
def test_command_that_is_shown_can_be_typed(place: str, words: list[str]) -> None:
    command, left = commands(), list(words)
    while hasattr(command, "commands"):
        assert left, f"{place} shows `admit {' '.join(words)}`, which is a group of commands"
        assert left[0] in command.commands, f"{place} shows `admit {' '.join(words)}`"
        command = command.commands[left.pop(0)]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    unknown = [word for word in left if word.startswith("--") and word not in options]
    assert not unknown, f"{place} shows `admit {' '.join(words)}`"


def test_pages_show_commands() -> None:
    assert len({place for place, _ in shown()}) > 20
