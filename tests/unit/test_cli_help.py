"""The help of every command, the page that is made from it, and how quickly it comes."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripts.command_docs import PAGE, page

from admit.cli.commands import EXIT_CODES, root, run
from admit.cli.failures import Exit
from tests.structure.source import ROOT


def verbs(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that lead to it."""
    command = command or root()
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, each in inner.items():
        yield from verbs(each, (*path, name))


COMMANDS = list(verbs())
# The guide of the Manager names commands beside pages; tests/structure/test_manager_commands.py reads those.
GUIDES = tuple(
    each
    for each in (ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md")))
    if each.name != "manager.md"
)
QUOTED = sorted(
    {
        typed
        for guide in GUIDES
        for typed in re.findall(r"^admit .+$|(?<=`)admit [^`\n]+(?=`)", guide.read_text(), re.MULTILINE)
    }
)
HARMFUL = (
    "revoke",
    "rotate",
    "rotate-key",
    "remove",
    "release",
    "sign-out",
    "delete",
    "deactivate",
    "wipe",
    "unlink",
    "restored",
    "server-reset",
    "template-reset",
    "export",  # over a file that is there
)
EVERY = pytest.mark.parametrize(("path", "command"), COMMANDS, ids=["-".join(path) for path, _ in COMMANDS])


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which somebody types."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words_of(typed: str, folder: Path) -> list[str]:
    """The words of the first command in `typed`, whose files are there."""
    words = shlex.split(re.split(" && | < ", typed)[0])
    for file in (word for word in words if re.fullmatch(r"[a-z-]+\.(csv|jsonl|json|txt|html)", word)):
        (folder / file).touch()
    return words


@EVERY
def test_help_starts_with_an_example_that_can_be_typed(
    path: tuple[str, ...], command: Any, folder: Path
) -> None:
    words = words_of(command.help.splitlines()[1], folder)

    assert words[: len(path) + 1] == ["admit", *path]
    command.make_context("example", words[len(path) + 1 :])


@pytest.mark.parametrize("typed", QUOTED)
def test_what_the_guides_tell_to_type_can_be_typed(typed: str, folder: Path) -> None:
    words = words_of(typed, folder)[1:]
    command = root()
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]

    command.make_context("quoted", words)


@EVERY
def test_every_command_answers_in_json_and_can_work_elsewhere(path: tuple[str, ...], command: Any) -> None:
    expected = {"--database", "--url", "--token", "--json"}
    if path == ("serve",):
        expected = {"--database"}
    if path == ("model", "check"):  # needs nothing but the file
        expected = set()
    if path == ("migrate",):
        expected = {"--database", "--json"}

    assert expected <= options(command)


@EVERY
def test_what_does_harm_asks_first(path: tuple[str, ...], command: Any) -> None:
    assert ("--yes" in options(command)) == (path[-1] in HARMFUL)


@EVERY
def test_every_parameter_is_explained(path: tuple[str, ...], command: Any) -> None:
    assert [parameter.name for parameter in command.params if not parameter.help] == []


def test_the_page_of_commands_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python scripts/command_docs.py"


def test_every_exit_code_is_explained() -> None:
    assert [code for code, _ in EXIT_CODES] == list(Exit)


def test_help_comes_without_loading_what_it_does_not_need() -> None:
    heavy = {
        "aiohttp",
        "alembic",
        "cryptography",
        "http.client",
        "pydantic",
        "rich",
        "sqlalchemy",
        "starlette",
    }
    program = f"""
import sys
from admit.cli.commands import run
assert run(["--help"]) == 0
print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ap"], "No such command 'ap'. Did you mean 'app'? `admit --help` shows how it is used."),
        (["app", "create"], "Missing argument 'NAME'. `admit app create --help` shows how it is used."),
        (
            ["app", "create", "x", "--owner", "a", "--user-ids", "foo"],
            "Invalid value for '--user-ids': 'foo' is not one of 'email', 'opaque'. "
            "`admit app create --help` shows how it is used.",
        ),
        (
            ["token", "create", "--expires", "5x"],
            "Invalid value for '--expires': '5x' is not a duration such as 5s, 1500ms or 30m. "
            "`admit token create --help` shows how it is used.",
        ),
        (
            ["policy", "set", "notes", "eval", "--timeout", "5s"],
            "--timeout and --on-failure belong to the policies webhook and task, not to eval.",
        ),
        (
            ["policy", "set", "notes", "task", "decide", "--payload", "full"],
            "--payload belongs to the policy webhook, not to task.",
        ),
        (
            ["policy", "set", "notes", "task"],
            "A task has one name, e.g. admit policy set APP task decide_enrollment",
        ),
        (["policy", "set", "notes", "prod", "x"], "The policy prod takes no value, but 'x' was given."),
        (
            ["policy", "set", "notes", "domains"],
            "Which domains? E.g. admit policy set APP domains example.com,acme.org",
        ),
        (
            ["policy", "set", "notes", "webhook"],
            "A web hook has one URL, e.g. https://example.com/decide",
        ),
        (
            ["token", "revoke", "opt_1"],
            "Whoever uses the token opt_1 is locked out at once. "
            "Nobody is here to ask: add --yes to go ahead.",
        ),
    ],
)
def test_a_wrong_command_is_told_what_is_wrong(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == Exit.USAGE
    assert capsys.readouterr() == ("", sentence + "\n")
