"""The question before harm."""

import io

import pytest

from admit.cli.command import Refusal, Terminal
from admit.cli.commands import run
from admit.cli.reach import Reach

QUESTION = "Ada is deleted."


class Keyboard(io.StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        return True


def ask(monkeypatch: pytest.MonkeyPatch, typed: str, *, yes: bool = False) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard(typed))
    Terminal(Reach(), json=False).confirm(QUESTION, yes=yes)


@pytest.mark.parametrize("typed", ["y\n", "YES\n", " yes"])
def test_yes_goes_ahead(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    ask(monkeypatch, typed)


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yesterday\n"])
def test_anything_else_changes_nothing(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    with pytest.raises(Refusal, match=r"Nothing was changed\.") as refusal:
        ask(monkeypatch, typed)
    assert refusal.value.exit_code == 1


def test_whoever_gives_up_hears_that_nothing_was_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard(""))

    assert run(["client", "revoke", "notes", "cli_1"]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.endswith("Nothing was changed.\n")


def test_yes_in_advance_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(monkeypatch, "", yes=True)

    assert capsys.readouterr() == ("", "")


def test_the_question_does_not_mix_with_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(monkeypatch, "y\n")

    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"{QUESTION} Go ahead? [y/N]: ")
