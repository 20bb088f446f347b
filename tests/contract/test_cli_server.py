"""`admit serve` and `admit migrate`, and how commands find their way while servers come and go."""

import json
import os
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from admit.storage.lock import FileLock
from tests.commands import CLEAN, Runner
from tests.contract.command_line import ADMIT, CommandLine, serving
from tests.postgres import Cluster

SECRET_KEY = "the-secret-key-of-command-tests-0123456789"
OWNER = ("--owner", "ada@example.com")


@pytest.fixture
def admit(runner: Runner, tmp_path: Path) -> CommandLine:
    """A command line in an empty folder."""
    return CommandLine(runner, tmp_path)


def cannot_start(folder: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    """The exit code of a server that cannot start, and the last line of what it says."""
    done = subprocess.run(
        [*ADMIT, "serve", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=CLEAN | environ,
        timeout=60,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


def test_start_without_operators_prints_a_link_that_works(admit: CommandLine) -> None:
    with serving(admit.folder) as server:
        assert server.process.stdout is not None
        line = server.process.stdout.readline()
        assert line.startswith("Become its first operator, with this link, which works once and for a day: ")
        link = line.split()[-1]
        assert link.startswith("http://localhost:")
        with urllib.request.urlopen(link, timeout=10) as reply:
            assert b"Become the first operator" in reply.read()
        assert link.rpartition("/")[2] not in (admit.folder / "serve.log").read_text()


def test_first_start_makes_file_and_key_and_says_so(admit: CommandLine) -> None:
    with serving(admit.folder) as server:
        assert server.said[0].startswith(f"Admit is at {server.address}, mails arrive at {server.address}/")
        assert server.said[0].endswith("Next: admit app create NAME --owner EMAIL")
        assert (admit.folder / "admit.db.key").stat().st_mode & 0o777 == 0o600
        inbox = server.said[0].split("mails arrive at ")[1].split(". Next")[0]
        for address in (inbox, server.address + "/openapi.json"):
            with urllib.request.urlopen(address, timeout=10) as reply:
                assert reply.status == 200
        assert server.stop() == 0
    first = (admit.folder / "serve.log").read_text()
    assert (
        f"Made the database {admit.folder}/admit.db and its secret key {admit.folder}/admit.db.key" in first
    )

    with serving(admit.folder) as server:
        assert server.stop() == 0
    assert "Made" not in (admit.folder / "serve.log").read_text().removeprefix(first)


def test_commands_follow_the_server_that_holds_the_file(admit: CommandLine) -> None:
    admit.done("app", "create", "before", *OWNER)
    with serving(admit.folder) as server:
        made = admit.json("app", "create", "during", *OWNER)
        port = server.address.rpartition(":")[2]
        assert made["database_url"] == f"http://localhost:{port}/during"
        server.process.kill()
        server.process.wait()

        names = [app["name"] for app in admit.json("app", "list")]

    assert names == ["before", "during"]


def test_commands_wait_for_a_server_that_is_ending(admit: CommandLine) -> None:
    admit.done("app", "create", "notes", *OWNER)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}"
    lock = FileLock(admit.folder / "admit.db")
    lock.acquire(gone)
    threading.Timer(1.0, lock.release).start()

    assert [app["name"] for app in admit.json("app", "list")] == ["notes"]


def test_commands_at_the_same_time_take_turns(admit: CommandLine) -> None:
    admit.done("app", "create", "notes", *OWNER)
    running = [
        subprocess.Popen(
            [*ADMIT, "origin", "add", "notes", f"http://localhost:{3000 + number}", "--json"],
            cwd=admit.folder,
            env=CLEAN,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(4)
    ]

    assert [(process.communicate(), process.returncode)[1] for process in running] == [0] * 4
    assert len(admit.json("origin", "list", "notes")) == 4


def test_from_elsewhere_a_token_reaches_as_far_as_its_scopes(admit: CommandLine, tmp_path: Path) -> None:
    with serving(admit.folder) as server:
        admit.done("app", "create", "notes", *OWNER)
        token = admit.json("token", "create", "--scopes", "apps:read")
        (tmp_path / "elsewhere").mkdir()
        elsewhere = CommandLine(
            admit.runner,
            tmp_path / "elsewhere",
            {"ADMIT_URL": server.address + "/", "ADMIT_TOKEN": token["token"]},
        )

        assert [app["name"] for app in elsewhere.json("app", "list")] == ["notes"]
        assert "apps:write" in elsewhere.refused("app", "create", "more", *OWNER)
        admit.done("token", "revoke", token["token_id"], "--yes")
        assert "ADMIT_TOKEN is not valid there" in elsewhere.refused("app", "list")
        server.stop()
        assert f"Cannot reach the server at {server.address}" in elsewhere.refused("app", "list", code=4)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_ledger_tells_who_was_let_in_and_who_was_not(admit: CommandLine) -> None:
    with serving(admit.folder) as server:
        admit.done("app", "create", "notes", *OWNER)
        client = admit.json("client", "create", "notes")
        assert sign_in(server.address, client, "ada@example.com") == 200
        admit.done("policy", "set", "notes", "reject")
        assert sign_in(server.address, client, "eve@example.com") == 403

        rows = admit.json("admission", "list", "notes")
        lines = admit.done("admission", "list", "notes", "--limit", "1").splitlines()

    assert [(row["user_id"], row["verdict"]) for row in rows] == [
        ("eve@example.com", "refused"),
        ("ada@example.com", "eval"),
    ]
    assert len(lines) == 2
    assert "eve@example.com\tclient_credentials\treject\trefused" in lines[1]
    assert "USER_NOT_REGISTERED: The policy rejects" in lines[1]


def sign_in(address: str, client: dict[str, str], sub: str) -> int:
    """The status of a first login by an API client for `sub`."""
    body = {
        "grant_type": "client_credentials",
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
        "scopes": ["ACCESS_DB"],
        "claims": {"sub": sub, "email": sub},
    }
    request = urllib.request.Request(
        f"{address}/notes/token", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_reader_that_goes_away_ends_the_command_quietly(admit: CommandLine) -> None:
    admit.done("app", "create", "notes", *OWNER)
    process = subprocess.Popen(
        [*ADMIT, "app", "list"],
        cwd=admit.folder,
        env=CLEAN,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()

        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_two_servers_do_not_share_a_file(admit: CommandLine) -> None:
    with serving(admit.folder) as server:
        code, sentence = cannot_start(admit.folder)

    assert code == 1
    assert f"The server at {server.address} (process {server.process.pid}) has admit.db open." in sentence


def test_a_taken_port_is_named(admit: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, sentence = cannot_start(admit.folder, "--port", str(port))

    assert code == 2
    assert str(port) in sentence
    assert "already" in sentence


def test_migrations_are_listed_applied_and_waited_for(admit: CommandLine) -> None:
    manual = {"ADMIT_MIGRATE": "manual"}
    by_hand = CommandLine(admit.runner, admit.folder, manual)

    code, sentence = cannot_start(admit.folder, **manual)
    assert (code, "Run: admit migrate" in sentence) == (2, True)
    assert "Run: admit migrate" in by_hand.refused("app", "create", "notes", *OWNER, code=2)
    checked = admit("migrate", "--check", "--json")
    assert checked.code == 1
    missing = json.loads(checked.out)["pending"]
    assert missing[0] == "0001"
    assert admit.json("migrate") == {"pending": [], "applied": missing}
    assert admit.json("migrate") == {"pending": [], "applied": []}
    assert admit.done("migrate", "--check") == "The database is up to date.\n"
    by_hand.done("app", "create", "notes", *OWNER)
    with serving(admit.folder, **manual) as server:
        assert "Stop it first" in admit.refused("migrate")
        assert server.stop() == 0


def test_postgres_needs_a_key_an_address_and_a_database(
    admit: CommandLine, postgres_cluster: Cluster, tmp_path: Path
) -> None:
    url = postgres_cluster.url("nowhere")
    assert "SECRET_KEY is not set" in admit.refused("app", "list", "--database", url, code=2)
    admit.environ["ADMIT_SECRET_KEY"] = SECRET_KEY
    assert 'database "nowhere" does not exist' in admit.refused("app", "list", "--database", url, code=4)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    closed = f"postgresql://admit:hidden@127.0.0.1:{port}/admit"
    sentence = admit.refused("app", "list", "--database", closed, code=4)
    assert "refused" in sentence
    assert "hidden" not in sentence
    assert len(sentence.splitlines()) == 1
    code, sentence = cannot_start(tmp_path, "--database", closed, ADMIT_SECRET_KEY=SECRET_KEY)
    assert (code, "refused" in sentence) == (4, True)


@pytest.mark.parametrize(
    "url", ["mysql://localhost/admit", "admit.db", "sqlite://", "sqlite:///admit.db?mode=ro", "postgresql"]
)
def test_a_wrong_database_url_is_named_with_an_example(admit: CommandLine, url: str) -> None:
    sentence = admit.refused("app", "list", "--database", url, code=2)

    assert sentence.startswith("DATABASE_URL ")
    assert "postgresql://admit@localhost/admit" in sentence


def test_a_folder_without_a_database_gets_none_by_asking(admit: CommandLine) -> None:
    for command in (["app", "list"], ["policy", "set", "notes", "eval"], ["token", "list"]):
        sentence = admit.refused(*command, code=4)
        assert sentence.startswith(f"There is no database at {admit.folder}/admit.db.")
    assert list(admit.folder.iterdir()) == []


def test_what_is_not_a_database_is_left_alone(admit: CommandLine) -> None:
    path = admit.folder / "admit.db"
    path.write_text("dear diary\n" * 1_000)

    sentence = admit.refused("app", "list", code=4)

    assert "not a database" in sentence
    assert path.read_text() == "dear diary\n" * 1_000


def test_a_folder_that_is_not_there_is_named(admit: CommandLine) -> None:
    sentence = admit.refused("app", "create", "notes", *OWNER, "--database", "sqlite:///no/admit.db", code=2)

    assert f"a file in {admit.folder}/no, which is no folder" in sentence


def test_the_file_of_somebody_else_is_named(admit: CommandLine) -> None:
    admit.done("app", "create", "notes", *OWNER)
    (admit.folder / "admit.db.lock").chmod(0)
    root_is_nobody_special = [
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-dac_override,-dac_read_search",
    ]

    ended = subprocess.run(
        [*(root_is_nobody_special if os.geteuid() == 0 else []), *ADMIT, "app", "list"],
        cwd=admit.folder,
        env=CLEAN,
        capture_output=True,
        text=True,
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "admit.db.lock: permission denied" in ended.stderr


def test_a_lost_key_is_told(admit: CommandLine) -> None:
    admit.done("app", "create", "notes", *OWNER)
    (admit.folder / "admit.db.key").write_text("short\n")

    assert "at least 32 characters" in admit.refused("app", "list", code=2)
    (admit.folder / "admit.db.key").write_text("another-key-than-the-one-that-sealed-it-0123456789\n")
    assert "SECRET_KEY does not open" in admit.refused("app", "list", code=2)


def test_a_server_with_a_key_of_its_own_asks_for_it(admit: CommandLine) -> None:
    with serving(admit.folder, ADMIT_SECRET_KEY=SECRET_KEY) as server:
        assert "ADMIT_SECRET_KEY" in admit.refused("app", "list", code=2)
        assert not (admit.folder / "admit.db.key").exists()
        with_another = CommandLine(admit.runner, admit.folder, {"ADMIT_SECRET_KEY": SECRET_KEY[::-1]})
        sentence = with_another.refused("app", "list")
        assert sentence.startswith(f"The server at {server.address} has another key than this command.")
        with_its_own = CommandLine(admit.runner, admit.folder, {"ADMIT_SECRET_KEY": SECRET_KEY})
        assert with_its_own.json("app", "list") == []


def test_a_command_that_holds_the_file_too_long_is_named(
    admit: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from admit.cli import connection, reach

    admit.done("app", "create", "notes", *OWNER)
    monkeypatch.setattr(reach, "LOCK_WAIT_SECONDS", 0.1)
    monkeypatch.chdir(admit.folder)
    lock = FileLock(admit.folder / "admit.db")
    lock.acquire(None)
    started = time.monotonic()
    with pytest.raises(connection.CannotReach, match=r"has admit\.db open"):
        reach.connect(reach.Reach(), {})
    lock.release()
    assert time.monotonic() - started < 5
