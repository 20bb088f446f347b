"""admit task …: what people read, and how commands end."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import CLEAN, Runner
from tests.contract.command_line import ADMIT, CommandLine, serving

CODE = '''
from admit import task


@task.called(retries=())
def greet(context):
    """Greets somebody."""
    print("thinking")
    whom = context.parameters["whom"]
    context.log.warning("hello", whom=whom)
    return {"greeted": whom}


@task.on("user.enrolled", once="user", email_domains=["example.com"], env=["URL"])
def welcome(context):
    context.call("greet", {"whom": context.user.user_id}, queue="greetings")
    context.http.post(context.env["URL"])


@task.every("0 7 * * *", timezone="Europe/Berlin")
def nightly(context):
    context.db.users.create("new@example.com", type="prod")
'''
SECONDS_MAX = 30


@pytest.fixture
def admit(runner: Runner, tmp_path: Path) -> Iterator[CommandLine]:
    """The command line beside a server with tasks."""
    code = tmp_path / "tasks" / "notes"
    code.mkdir(parents=True)
    (code / "greetings.py").write_text(CODE)
    line = CommandLine(runner, tmp_path)
    assert line("app", "create", "notes", "--owner", "ada@example.com").code == 0
    with serving(tmp_path, ADMIT_TASKS="tasks", ADMIT_TASKS_RELOAD="command"):
        yield line


def test_tasks_are_shown_in_words(admit: CommandLine) -> None:
    listed = [line.split("\t") for line in admit.done("task", "list", "notes").splitlines()]
    assert listed == [
        ["TASK", "RUNS", "STATE", "LAST RUN", "WHERE", "ABOUT"],
        ["greet", "when called", "ready", "never", "greetings.py:6", "Greets somebody."],
        ["nightly", "at 0 7 * * * Europe/Berlin", "ready", "never", "greetings.py:21", ""],
        ["welcome", "on user.enrolled, once per user", "ready", "never", "greetings.py:15", ""],
    ]
    shown = admit("task", "show", "notes", "welcome")
    assert "only emails at\texample.com" in shown.out.splitlines()
    assert "last run\tnever" in shown.out.splitlines()
    assert any(
        line.startswith("next run\t2") for line in admit.done("task", "show", "notes", "nightly").splitlines()
    )
    assert "tried again after\t5s, 1m, 10m, 1h, 6h" in shown.out.splitlines()
    assert "URL is not set. Set it with: admit task env set notes URL < value.txt" in shown.err
    assert admit.done("task", "pause", "notes", "greet") == "greet is paused. Its runs wait.\n"
    assert admit.done("task", "resume", "notes", "greet") == "greet is ready. Its runs go on.\n"
    assert admit.refused("task", "show", "notes", "nobody", code=3).startswith("There is no task 'nobody'")


def test_a_run_shows_what_it_says_and_what_it_returns(admit: CommandLine) -> None:
    ended = admit("task", "run", "notes", "greet", '{"whom": "ada"}')

    assert (ended.code, ended.err) == (0, "")
    thinking, hello, result = ended.out.splitlines()
    assert thinking.endswith("\tthinking")
    assert hello.split("\t")[1:] == ["warning", "hello", 'whom="ada"']
    assert result == '{"greeted":"ada"}'
    logs = admit.done("task", "logs", "notes", "greet", "--level", "warning").splitlines()
    assert [line.split("\t")[2:3] + line.split("\t")[4:] for line in logs] == [
        ["greet", "hello", 'whom="ada"']
    ]


def test_a_run_that_fails_ends_with_1_and_says_why_and_where(admit: CommandLine) -> None:
    ended = admit("task", "run", "notes", "greet", "{}")

    assert ended.code == 1
    assert "is failed. KeyError: 'whom' (greetings.py:9)" in ended.err
    (failed,) = admit.json("task", "runs", "notes", "--state", "failed")
    inspected = admit.done("task", "inspect", "notes", failed["id"])
    assert "state\tfailed" in inspected.splitlines()
    assert '    whom = context.parameters["whom"]' in inspected
    assert "no JSON object" in admit.refused("task", "run", "notes", "greet", "[1]", code=2)


def test_a_test_shows_what_would_be_and_ends_with_1_where_it_fails(admit: CommandLine) -> None:
    admit.done("task", "env", "set", "notes", "URL", "http://127.0.0.1:9/")
    nightly = admit.done("task", "run", "notes", "nightly", "--test").splitlines()
    assert 'would change\twrite user new@example.com {"type":"prod"}' in nightly
    assert nightly[-1].endswith("nothing of it was kept")
    welcome = admit("task", "run", "notes", "welcome", "--test")
    assert welcome.code == 1
    assert "would send\tPOST http://127.0.0.1:9/" in welcome.out.splitlines()
    assert "was not sent" in welcome.err
    assert admit.json("task", "runs", "notes", "welcome") == []


def test_code_that_cannot_be_taken_ends_a_reload_with_1(admit: CommandLine) -> None:
    assert admit.done("task", "reload").splitlines()[1].endswith("greet, nightly, welcome\t0")
    (admit.folder / "tasks" / "notes" / "more.py").write_text("import nothing_of_this_name\n")

    ended = admit("task", "reload")

    assert ended.code == 1
    assert "notes/more.py:1: " in ended.err
    assert "The former code goes on." in ended.err
    assert "notes/more.py:1: " in admit("task", "list", "notes").err


def test_variables_are_listed_by_name_and_forgotten(admit: CommandLine) -> None:
    assert (
        admit.done("task", "env", "set", "notes", "URL", "x-y-z") == "URL is set. It is given to welcome.\n"
    )
    assert "x-y-z" not in admit.done("task", "env", "list", "notes")
    assert "add --yes" in admit.refused("task", "env", "remove", "notes", "URL", code=2)
    assert admit.done("task", "env", "remove", "notes", "URL", "--yes") == "URL is removed.\n"
    assert "capitals" in admit.refused("task", "env", "set", "notes", "url", "x")


def test_lines_are_followed_as_they_are_said(admit: CommandLine) -> None:
    with subprocess.Popen(
        [*ADMIT, "task", "logs", "notes", "--follow", "--json"],
        cwd=admit.folder,
        env=CLEAN,
        stdout=subprocess.PIPE,
    ) as following:
        try:
            assert following.stdout is not None
            os.set_blocking(following.stdout.fileno(), False)
            said, give_up_at = "", time.monotonic() + SECONDS_MAX
            number = 0
            while "hello" not in said:
                assert time.monotonic() < give_up_at
                number += 1
                admit.done("task", "run", "notes", "greet", f'{{"whom": "{number}"}}')
                said += _read(following.stdout.fileno())
            following.send_signal(signal.SIGINT)
            assert following.wait(SECONDS_MAX) == 130
        finally:
            following.kill()


def test_without_a_server_nothing_runs_and_the_command_says_so(runner: Runner, tmp_path: Path) -> None:
    line = CommandLine(runner, tmp_path)
    assert line("app", "create", "notes", "--owner", "ada@example.com").code == 0
    for words in (["reload"], ["logs", "notes", "--follow"]):
        assert line.refused("task", *words).startswith("No server is running here")
    assert line.json("task", "list", "notes") == []


def _read(number: int) -> str:
    """What has come so far through a pipe."""
    try:
        return os.read(number, 1_000_000).decode()
    except BlockingIOError:
        return ""
