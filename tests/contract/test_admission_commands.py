"""admit admission and admit policy test, against each kind of database and a server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from admit.cli.connection import target
from tests.commands import Runner
from tests.contract.command_line import CommandLine, serving
from tests.postgres import Cluster

APP = "ledgers"
SECRET_KEY = "the-secret-key-of-admission-commands-01234"
LOOPBACK = {"ADMIT_EGRESS_ALLOW": "127.0.0.1"}
UNREACHED = "http://127.0.0.1:9/decide"


class _Decider(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"ok": true, "action": "prod", "userData": {"displayName": "Ada"}}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hook() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Decider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/decide"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module", params=["file", "server", "postgres"])
def admit(
    request: pytest.FixtureRequest, runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommandLine]:
    """A command line on one database for all tests here, which it reaches in each way in turn."""
    folder = tmp_path_factory.mktemp(request.param)
    match request.param:
        case "file":
            line = CommandLine(runner, folder, LOOPBACK)
            line("token", "create")
            yield line
        case "server":
            with serving(folder, **LOOPBACK):
                yield CommandLine(runner, folder)
        case _:
            cluster: Cluster = request.getfixturevalue("postgres_cluster")
            url = cluster.create_database("admission_commands")
            yield CommandLine(
                runner, folder, LOOPBACK | {"ADMIT_DATABASE_URL": url, "ADMIT_SECRET_KEY": SECRET_KEY}
            )
            cluster.drop_database("admission_commands")


@pytest.fixture(scope="module")
def app(admit: CommandLine) -> str:
    admit.done("app", "create", APP, "--owner", "owner@example.com")
    for name in ("ann", "bob", "=cmd"):
        admit.post(target("apps", APP, "users"), [{"userId": f"{name}@example.com", "type": "prod"}])
    return APP


def test_decisions_are_searched_and_shown(admit: CommandLine, app: str) -> None:
    listed = admit.json("admission", "list", app)
    assert [each["user_id"] for each in listed] == ["=cmd@example.com", "bob@example.com", "ann@example.com"]
    assert [each["user_id"] for each in admit.json("admission", "list", app, "--limit", "1")] == [
        "=cmd@example.com"
    ]
    [ann] = admit.json("admission", "list", app, "--search", "an", "--verdict", "prod", "--since", "1h")
    assert ann["user_id"] == "ann@example.com"
    assert admit.json("admission", "list", app, "--code", "WEBHOOK_ERROR") == []
    assert admit.json("admission", "show", app, ann["admission_id"]) == ann
    assert "user id\tann@example.com\n" in admit.done("admission", "show", app, ann["admission_id"])
    assert "no admission" in admit.refused("admission", "show", app, "adm_none", code=3)


def test_decisions_are_taken_away_as_files(admit: CommandLine, app: str) -> None:
    lines = admit.done("admission", "export", app, "--way-in", "api").splitlines()
    assert [json.loads(line) for line in lines] == admit.json("admission", "list", app)
    assert "3 decisions are in" in admit.done("admission", "export", app, "ledger.csv", "--yes")
    file = admit.folder / "ledger.csv"
    assert file.stat().st_mode & 0o077 == 0
    head, *rows = file.read_text().splitlines()
    assert head.startswith("admission_id,user_id,")
    assert "'=cmd@example.com" in rows[0]
    assert "neither in .csv nor in .jsonl" in admit.refused("admission", "export", app, "ledger", code=2)


def test_policy_is_tested_and_its_answer_shown(admit: CommandLine, app: str, hook: str) -> None:
    said = admit.done("policy", "test", app, "webhook", hook, "--email", "new@example.com")
    assert "outcome\twould come in as prod\n" in said
    assert "attempts\t1 of at most 3\n" in said
    assert 'sent\t{"userId":"new@example.com","email":"new@example.com"}\n' in said
    assert 'answered\t200 {"ok": true' in said
    assert admit.json("policy", "test", app, "webhook", hook, "--email", "new@example.com")["name"] == "Ada"
    assert admit.json("admission", "list", app, "--search", "new") == []


def test_test_without_an_answer_that_counts_ends_with_1(admit: CommandLine, app: str) -> None:
    ended = admit(
        "policy", "test", app, "webhook", UNREACHED, "--email", "new@example.com", "--timeout", "1s"
    )
    assert ended.code == 1
    assert "There is no connection to 127.0.0.1" in ended.out
    assert "Nobody would be asked" in admit.refused("policy", "test", app, "--email", "new@example.com")
    assert "belong to a policy" in admit.refused("policy", "test", app, "--timeout", "1s", code=2)
