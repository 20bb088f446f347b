"""admit user import and export: by every way to the database, killed in the middle and gone on with."""

import asyncio
import csv
import itertools
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from admit.accounts import seats
from admit.accounts.user_changes import CHANGES_MAX
from admit.cli.connection import target
from admit.cli.user_import import JOURNAL_ENDING, PIECE_USERS
from admit.enrollment.creations import import_users
from admit.errors import Conflict
from admit.events import log
from tests.commands import CLEAN, Runner
from tests.contract.command_line import ADMIT, CommandLine, serving
from tests.contract.served import Answered, Served
from tests.postgres import Cluster

SECRET_KEY = "the-secret-key-of-file-tests-0123456789"

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["file", "server", "postgres"])
def admit(
    request: pytest.FixtureRequest, runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommandLine]:
    """A command line on one database for all tests here, which it reaches in each way in turn."""
    folder = tmp_path_factory.mktemp(request.param)
    match request.param:
        case "file":
            yield CommandLine(runner, folder)
        case "server":
            with serving(folder):
                yield CommandLine(runner, folder)
        case _:
            cluster: Cluster = request.getfixturevalue("postgres_cluster")
            url = cluster.create_database("user_files")
            yield CommandLine(runner, folder, {"ADMIT_DATABASE_URL": url, "ADMIT_SECRET_KEY": SECRET_KEY})
            cluster.drop_database("user_files")


@pytest.fixture
def app(admit: CommandLine) -> str:
    """The name of a new app."""
    name = f"app-{next(_numbers)}"
    admit.done("app", "create", name, "--owner", "ada@example.com")
    return name


def many(path: Path, number: int) -> Path:
    """A file with that many people."""
    with path.open("w") as file:
        print("userId,type,data", file=file)
        for each in range(number):
            print(f'u{each:05}@example.com,prod,"{{""displayName"":""Person {each}""}}"', file=file)
    return path


def people_of(admit: CommandLine, app: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in admit.done("user", "export", app).splitlines()]


# Files


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_what_was_exported_moves_into_another_app(admit: CommandLine, app: str, ending: str) -> None:
    entries: list[dict[str, Any]] = [
        {"userId": "ada@example.com", "type": "prod", "validUntil": "2090-01-02", "data": {"a": "ü"}},
        {"userId": "=cmd()", "type": "eval", "evalDaysLeft": 3, "data": {"displayName": "@SUM(A1)"}},
        {"userId": "gone@example.com", "type": "prod", "deactivated": "2024-05-06T07:08:09.010Z"},
        {"userId": "bob@demo.local", "type": "demo"},
    ]
    admit.post(target("apps", app, "users"), entries)
    file = f"people-{app}.{ending}"

    assert admit.done("user", "export", app, file) == f"4 people are in {file}.\n"
    other = f"{app}-too"
    admit.done("app", "create", other, "--owner", "ada@example.com")
    done = admit.json("user", "import", other, file)

    assert (done["created"], done["changed"], done["refused"]) == (4, 0, 0)
    own = ("created", "updated", "lastLogin")
    here, there = (
        [
            {name: value for name, value in person.items() if name not in own}
            for person in people_of(admit, each)
        ]
        for each in (app, other)
    )
    assert here == there
    assert [each["userId"] for each in here] == sorted(each["userId"] for each in entries)
    again = admit.json("user", "import", other, file)
    assert (again["created"], again["changed"], again["unchanged"]) == (0, 0, 4)


def test_no_cell_of_an_export_is_a_formula_and_nobody_else_may_read_it(admit: CommandLine, app: str) -> None:
    entry = {"userId": "=HYPERLINK(1)", "type": "prod", "data": {"displayName": "+49 30 1234"}}
    admit.post(target("apps", app, "users"), [entry])
    admit.done("user", "export", app, f"{app}.csv")
    path = admit.folder / f"{app}.csv"
    with path.open(newline="") as file:
        _, row = csv.reader(file)
    assert "'=HYPERLINK(1)" in row
    assert "'+49 30 1234" in row
    assert path.stat().st_mode & 0o077 == 0


def test_an_export_overwrites_nothing_unasked(admit: CommandLine, app: str) -> None:
    path = admit.folder / f"{app}.csv"
    path.write_text("mine")
    assert "is replaced" in admit.refused("user", "export", app, path.name, code=2)
    assert path.read_text() == "mine"
    admit.done("user", "export", app, path.name, "--yes")
    assert path.read_text().startswith("userId,")


def test_each_wrong_line_is_named_and_keeps_nobody_else_out(admit: CommandLine, app: str) -> None:
    (admit.folder / "wrong.csv").write_text(
        "userId,type,evalDaysLeft\n"
        "ada@example.com,prod,\n"
        "bob@example.com,admin,\n"
        "cy@example.com,eval,many\n"
        "\n"
        "dan@example.com,,\n"
        "eve@example.com,eval,5\n"
    )

    tried = admit("user", "import", app, "wrong.csv", "--dry-run")
    assert people_of(admit, app) == []
    ended = admit("user", "import", app, "wrong.csv")

    assert tried.code == ended.code == 1
    assert ended.out == "created\t2\nchanged\t0\nunchanged\t0\nleft out\t3\n"
    assert tried.out == "would be created\t2\nwould be changed\t0\nunchanged\t0\nwould be left out\t3\n"
    assert ended.err == tried.err
    assert [line.partition(": ")[0] for line in ended.err.splitlines()] == ["Line 3", "Line 4", "Line 6"]
    assert "The type of a user is eval or prod, not 'admin'." in ended.err
    assert [each["userId"] for each in people_of(admit, app)] == ["ada@example.com", "eve@example.com"]
    assert not (admit.folder / f"wrong.csv{JOURNAL_ENDING}").exists()


def test_programs_read_the_errors_in_the_summary(admit: CommandLine, app: str) -> None:
    (admit.folder / "one.jsonl").write_text('{"userId":"ada@example.com"}\n')
    ended = admit("user", "import", app, "one.jsonl", "--json")
    assert (ended.code, ended.err) == (1, "")
    [error] = json.loads(ended.out)["errors"]
    assert error["line"] == 1
    assert "give its type" in error["message"]


def test_lines_beyond_the_last_seat_are_named(admit: CommandLine, app: str) -> None:
    admit.done("app", "seats", app, "2")
    many(admit.folder / "four.csv", 4)
    ended = admit("user", "import", app, "four.csv")
    assert [line.split(":")[0] for line in ended.err.splitlines()] == ["Line 4", "Line 5"]
    assert admit.json("app", "seats", app, "--recount") == {
        "way_in": "",
        "taken": 2,
        "limit": 2,
        "when_full": "refuse",
        "by_way_in": [{"way_in": "import", "taken": 2, "limit": None, "when_full": "refuse"}],
        "drift": 0,
    }


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("people.txt", "userId\n", "ends neither in .csv nor in .jsonl"),
        ("nothing.csv", "", "names its columns"),
        ("excel.csv", "userId,type\n", "Save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    admit: CommandLine, app: str, name: str, content: str, problem: str
) -> None:
    encoding = "utf-16" if name == "excel.csv" else "utf-8"
    (admit.folder / name).write_bytes(content.encode(encoding))
    assert problem in admit.refused("user", "import", app, name, code=2 if name == "people.txt" else 1)
    assert admit("user", "import", app, "missing.csv").code == 2
    assert admit("user", "import", "no-such-app", name, "--format", "csv").code == 3


def test_seats_are_set_and_shown(admit: CommandLine, app: str) -> None:
    assert admit.done("app", "seats", app) == "taken\t0\nlimit\tnone\nwhen full\trefuse\n"
    assert admit.done("app", "seats", app, "50", "--when-full", "eval").splitlines()[1:] == [
        "limit\t50",
        "when full\teval",
    ]
    assert admit.json("app", "seats", app, "none") == {
        "way_in": "",
        "taken": 0,
        "limit": None,
        "when_full": "eval",
        "by_way_in": [],
    }
    assert "no number of seats" in admit.refused("app", "seats", app, "many", code=2)


def test_seats_of_a_way_in_are_set_and_shown(admit: CommandLine, app: str) -> None:
    shown = admit.done("app", "seats", app, "1", "--for", "import")
    assert shown == "taken\t0\nlimit\t1\nwhen full\trefuse\n"
    many(admit.folder / "two.csv", 2)
    ended = admit("user", "import", app, "two.csv")
    assert "All 1 seats for import are taken." in ended.err
    assert admit.done("app", "seats", app).splitlines()[3:] == ["by import\t1 of 1, when full refuse"]
    assert admit.json("app", "seats", app, "none", "--for", "import")["limit"] is None
    assert admit.done("app", "seats", app).splitlines()[3:] == ["by import\t1, no limit"]
    assert "no way into" in admit.refused("app", "seats", app, "5", "--for", "imports")


# Interruptions


def test_an_import_that_is_killed_goes_on_where_it_was(admit: CommandLine, app: str) -> None:
    number = 10 * PIECE_USERS
    path = many(admit.folder / f"{app}.csv", number)
    journal = path.with_name(path.name + JOURNAL_ENDING)
    process = subprocess.Popen(
        [*ADMIT, "user", "import", app, path.name],
        cwd=admit.folder,
        env=CLEAN | admit.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not journal.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 0 < len(people_of(admit, app)) < number

    ended = admit("user", "import", app, path.name)

    assert ended.code == 0, ended
    assert ended.err.startswith("Going on behind line ")
    assert not journal.exists()
    people = people_of(admit, app)
    assert [each["userId"] for each in people] == [f"u{each:05}@example.com" for each in range(number)]
    ledger = admit.json("admission", "list", app, "--limit", str(2 * number))
    assert len(ledger) == len({row["user_id"] for row in ledger}) == number


def test_an_import_goes_on_after_the_server_has_died(runner: Runner, tmp_path: Path) -> None:
    number = 10 * PIECE_USERS
    path = many(tmp_path / "people.csv", number)
    journal = path.with_name(path.name + JOURNAL_ENDING)
    admit = CommandLine(runner, tmp_path)
    with serving(tmp_path) as server:
        admit.done("app", "create", "notes", "--owner", "ada@example.com")
        process = subprocess.Popen(
            [*ADMIT, "user", "import", "notes", path.name], cwd=tmp_path, env=CLEAN, stderr=subprocess.PIPE
        )
        while not journal.exists():
            assert process.poll() is None
            time.sleep(0.002)
        server.process.kill()
        _, complaint = process.communicate()
    assert process.returncode == 4
    assert b"The same command goes on from there." in complaint

    assert admit.json("user", "import", "notes", path.name)["unchanged"] in (0, PIECE_USERS)

    assert len(people_of(admit, "notes")) == number
    assert len(admit.json("admission", "list", "notes", "--limit", str(2 * number))) == number


def test_people_at_a_terminal_see_how_far_it_is(runner: Runner, tmp_path: Path) -> None:
    many(tmp_path / "people.csv", 3)
    CommandLine(runner, tmp_path).done("app", "create", "notes", "--owner", "ada@example.com")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*ADMIT, "user", "import", "notes", "people.csv"],
        cwd=tmp_path,
        env=CLEAN | {"TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert (done.returncode, done.stdout[:10]) == (0, b"created\t3\n")
    assert "people.csv" in shown
    assert "100 %" in shown


def test_a_piece_that_is_sent_twice_changes_nothing(admit: CommandLine, app: str) -> None:
    """Killed between the commit and the note of it."""
    path = many(admit.folder / f"{app}.csv", PIECE_USERS + 1)
    journal = path.with_name(path.name + JOURNAL_ENDING)
    admit.done("user", "import", app, path.name)
    app_id = admit.json("app", "show", app)["app_id"]
    stat = path.stat()
    journal.write_text(
        json.dumps(
            {
                "app_id": app_id,
                "size": stat.st_size,
                "modified_ns": stat.st_mtime_ns,
                "tally": {"place": {"offset": 17, "line": 1}, "created": 7},
            }
        )
    )
    done = admit.json("user", "import", app, path.name)
    assert (done["created"], done["changed"], done["unchanged"]) == (7, 0, PIECE_USERS + 1)


@pytest.mark.parametrize("what", ["another app", "another file", "rubbish"])
def test_a_place_that_belongs_to_something_else_is_forgotten(admit: CommandLine, app: str, what: str) -> None:
    path = many(admit.folder / f"{app}.csv", 3)
    journal = path.with_name(path.name + JOURNAL_ENDING)
    stat = path.stat()
    kept = {
        "app_id": "app_other" if what == "another app" else admit.json("app", "show", app)["app_id"],
        "size": stat.st_size + (what == "another file"),
        "modified_ns": stat.st_mtime_ns,
        "tally": {"place": {"offset": stat.st_size, "line": 4}, "created": 3},
    }
    journal.write_text("{" if what == "rubbish" else json.dumps(kept))
    assert admit.json("user", "import", app, path.name)["created"] == 3
    assert len(people_of(admit, app)) == 3


def test_where_no_place_can_be_kept_the_import_says_so_and_goes_on(admit: CommandLine, app: str) -> None:
    path = many(admit.folder / f"{app}.csv", 3)
    os.mkdir(path.with_name(path.name + JOURNAL_ENDING))
    ended = admit("user", "import", app, path.name)
    assert (ended.code, len(people_of(admit, app))) == (0, 3)
    assert "An interrupted import would begin anew" in ended.err


# The endpoint


async def send(served: Served, users: list[dict[str, object]], *, dry_run: bool = False) -> Answered:
    body = msgspec.json.encode({"users": users, "dry_run": dry_run})
    return await served.ask("POST", "/api/apps/notes/user-imports", headers=served.command(), data=body)


async def test_entries_are_made_each_for_itself_in_their_order(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "old@example.com", "type": "eval"})
    await served.gateway.db.write(lambda tx: seats.set_limit(tx, app.app_id, 1, "refuse"))
    users: list[dict[str, object]] = [
        {"userId": "old@example.com", "type": "prod"},
        {"userId": "new@example.com", "type": "prod"},
        {"userId": "old@example.com", "deactivated": True},
        {"userId": "new@example.com", "type": "prod"},
        {"userId": "same@example.com", "type": "eval"},
        {"userId": "nobody@example.com", "evalDaysLeft": 3},
    ]

    tried = await send(served, users, dry_run=True)
    before = await served.gateway.db.read(partial(log.head, app_id=app.app_id))
    done = await send(served, users)

    assert tried.json["becomes"] == ["changed", "refused", "changed", "created", "created", "refused"]
    assert tried.json | {"becomes": []} == done.json
    assert before is not None
    assert before.position == 1, "a trial records nothing"
    assert (done.json["created"], done.json["changed"], done.json["unchanged"]) == (2, 1, 1)
    assert [(each["index"], each["code"]) for each in done.json["refused"]] == [
        (1, "NO_SEATS_AVAILABLE"),
        (5, "invalid_request"),
    ]
    assert (await send(served, users[3:5])).json["unchanged"] == 2
    counted = await served.gateway.db.read(partial(seats.recount, app_id=app.app_id))
    assert (counted.seats.taken, counted.drift) == (1, 0)


async def test_rivals_who_import_the_same_people_create_each_once(served: Served) -> None:
    app = await served.app()
    users: list[dict[str, object]] = [
        {"userId": f"u{each}@example.com", "type": "prod"} for each in range(50)
    ]
    answers = await asyncio.gather(*(send(served, users if each % 2 else users[::-1]) for each in range(6)))
    assert {answer.status for answer in answers} == {200}
    assert sum(answer.json["created"] for answer in answers) == 50
    counted = await served.gateway.db.read(partial(seats.recount, app_id=app.app_id))
    assert (counted.seats.taken, counted.drift) == (50, 0)


async def test_who_is_known_by_now_is_changed_and_not_an_error(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.app()
    tries = list[int]()

    def overtaken_once(*arguments: Any, **options: Any) -> Any:
        if not tries:
            tries.append(1)
            raise Conflict("somebody was faster")
        return import_users(*arguments, **options)

    monkeypatch.setattr("admit.web.admin_import_api.import_users", overtaken_once)
    answer = await send(served, [{"userId": "ada@example.com", "type": "prod"}])
    assert (answer.status, answer.json["created"]) == (200, 1)


async def test_an_import_needs_its_scope_and_has_a_size(door: Served) -> None:
    app = await door.app()
    entry: dict[str, object] = {"userId": "ada@example.com", "type": "prod"}
    assert (await send(door, [entry] * (CHANGES_MAX + 1))).status == 400
    answer = await door.ask("POST", "/api/apps/notes/user-imports", headers=door.bearer(app), data=b"{}")
    assert answer.status == 401
