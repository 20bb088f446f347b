"""Commands that begin campaigns, follow them and look at deliveries, with a server and without one."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from admit.cli.connection import target
from tests.commands import CLEAN, Runner
from tests.contract.command_line import ADMIT, CommandLine, serving

ALLOW = {"ADMIT_EGRESS_ALLOW": "127.0.0.1"}
PEOPLE = 25


@dataclass
class Far:
    """The far side: remembers the webhook-id of every request and answers with `status`."""

    url: str = ""
    status: int = 200
    ids: list[str] = field(default_factory=list)


@contextmanager
def far_side() -> Iterator[Far]:
    far = Far()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            far.ids.append(self.headers["webhook-id"])
            self.send_response(far.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    far.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield far
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def admit(runner: Runner, tmp_path: Path) -> CommandLine:
    """The command line beside a SQLite file with an app and its people."""
    line = CommandLine(runner, tmp_path, dict(ALLOW))
    line("app", "create", "notes", "--owner", "ada@example.com")
    people = [{"userId": f"u{number}@example.com", "type": "prod"} for number in range(PEOPLE)]
    line.post(target("apps", "notes", "users"), people)
    return line


def until(line: CommandLine, wanted: Any, *arguments: str, seconds: float = 15) -> Any:
    """What a command answers once `wanted` holds of it."""
    give_up_at = time.monotonic() + seconds
    while not wanted(found := line.json(*arguments)):
        assert time.monotonic() < give_up_at, found
        time.sleep(0.05)
    return found


def endpoint(line: CommandLine, far: Far, *more: str) -> str:
    ended = line(
        *("endpoint", "create", "notes", far.url, "--events", "user.enrolled,user.updated", *more, "--json")
    )
    assert ended.code == 0, ended
    made: str = json.loads(ended.out)["id"]
    return made


def test_backfill_is_followed_to_its_end_and_its_deliveries_are_found(admit: CommandLine) -> None:
    with far_side() as far, serving(admit.folder, **ALLOW):
        told = endpoint(admit, far)
        done = admit.json("endpoint", "backfill", "notes", told, "--of", "user")
        assert (done["state"], done["done"], done["total"]) == ("done", PEOPLE, PEOPLE)
        facts = admit.done("endpoint", "backfill", "notes", told, "--of", "user")
        assert "what\tbackfill of every user\nstate\tdone\n" in facts
        listed = admit.done("endpoint", "campaigns", "notes", told)
        assert listed.count("backfill of every user\tdone") == 2
        assert f"{PEOPLE} of {PEOPLE}\t{PEOPLE}\t" in listed

        delivered = until(
            admit,
            lambda found: len(found) == PEOPLE,
            *("delivery", "list", "notes", "--endpoint", told, "--state", "delivered"),
        )
        assert len(admit.json("delivery", "list", "notes", "--limit", "7")) == 7
        shown = admit.done("delivery", "show", "notes", delivered[0]["id"])
        assert "state\tdelivered\n" in shown
        assert "attempt 1\t" in shown
        again = admit.done("delivery", "retry", "notes", delivered[0]["id"])
        assert again.startswith(f"{delivered[0]['id']} is ")
        assert "--state" in admit.refused("delivery", "list", "notes", "--state", "lost", code=2)
        unknown = admit.refused("delivery", "show", "notes", "dlv_x", code=3)
        assert unknown == "There is no delivery 'dlv_x' in this app."
        nope = "There is no endpoint 'nope' in this app."
        assert admit.refused("delivery", "list", "notes", "--endpoint", "nope", code=3) == nope
        assert admit.refused("endpoint", "campaigns", "notes", "nope", code=3) == nope
        assert admit.json("delivery", "list", "notes", "--endpoint", told, "--state", "failed") == []
    assert len(set(far.ids)) == PEOPLE


def test_replay_and_retry_of_what_failed(admit: CommandLine) -> None:
    with far_side() as far, serving(admit.folder, **ALLOW):
        far.status = 500
        told = endpoint(admit, far, "--retry", "1s")
        admit.post(target("apps", "notes", "users"), [{"userId": "new@example.com", "type": "prod"}])
        [failed] = until(admit, len, "delivery", "list", "notes", "--state", "failed")
        assert failed["attempts"] == 2
        far.status = 200
        done = admit.json("endpoint", "retry-failed", "notes", told, "--since", "1h")
        assert (done["kind"], done["done"]) == ("retry", 1)
        until(admit, len, "delivery", "list", "notes", "--state", "delivered")
        done = admit.json("endpoint", "replay", "notes", told, "--since", "1h")
        assert (done["kind"], done["done"]) == ("replay", PEOPLE + 1)
        done = admit.json("endpoint", "replay", "notes", told, "--sequence", str(done["total"]))
        assert (done["kind"], done["state"]) == ("replay", "done")
        until(
            admit,
            lambda found: len(found) >= 2,
            *("delivery", "list", "notes", "--user", "new@example.com", "--state", "delivered"),
        )
        refused = admit.refused("endpoint", "replay", "notes", told, code=2)
        assert refused == "A replay begins with --since or with --sequence."
        admit.refused("endpoint", "replay", "notes", told, "--since", "yesterday", code=2)
    assert len(set(far.ids)) == PEOPLE + 1


def test_campaign_without_a_delivery_says_why(admit: CommandLine) -> None:
    with far_side() as far, serving(admit.folder, **ALLOW):
        told = endpoint(admit, far, "--events", "user.enrolled,device.enrolled")

        def said(*arguments: str) -> str:
            ended = admit("endpoint", *arguments)
            assert (ended.code, "deliveries\t0\n" in ended.out) == (0, True), ended
            return ended.err

        assert said("backfill", "notes", told, "--of", "device") == "There is no device yet.\n"
        admit.done("endpoint", "backfill", "notes", told, "--of", "user")
        assert "No user is left to tell of" in said("backfill", "notes", told, "--of", "user")
        assert "No delivery has failed" in said("retry-failed", "notes", told, "--since", "1h")
        assert "Nothing that the endpoint wants" in said("replay", "notes", told, "--since", "0s")


def test_interrupted_command_leaves_its_campaign_at_work(admit: CommandLine) -> None:
    with far_side() as far, serving(admit.folder, **ALLOW):
        told = endpoint(admit, far)
        slowly = ["endpoint", "backfill", "notes", told, "--of", "user", "--per-minute", "1"]
        with subprocess.Popen(
            [*ADMIT, *slowly],
            cwd=admit.folder,
            env=CLEAN | ALLOW,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as command:
            [campaign] = until(
                admit,
                lambda found: found and found[0]["done"] == 1,
                *("endpoint", "campaigns", "notes", told),
            )
            while "/campaigns/{campaign}" not in (admit.folder / "serve.log").read_text():
                assert command.poll() is None
                time.sleep(0.05)
            command.send_signal(signal.SIGINT)
            _, said = command.communicate(timeout=30)
        assert command.returncode == 130
        assert "It goes on without this command." in said
        assert f"admit endpoint campaigns notes {told}" in said

        refused = admit.refused(*slowly)
        assert campaign["id"] in refused
        [still] = admit.json("endpoint", "campaigns", "notes", told)
        assert still["state"] == "running"
        cancelled = admit.done("endpoint", "cancel", "notes", campaign["id"])
        assert cancelled == f"{campaign['id']} is cancelled, after 1 deliveries.\n"
        begun = admit.json(*slowly, "--no-wait")
        assert begun["state"] == "running"


def test_without_a_server_it_begins_when_one_runs(admit: CommandLine) -> None:
    with far_side() as far:
        told = endpoint(admit, far)
        ended = admit("endpoint", "backfill", "notes", told, "--of", "user")
        assert ended.code == 0
        assert "state\trunning\n" in ended.out
        assert ended.err == "No server is running here. It begins when one does: admit serve\n"
        with serving(admit.folder, **ALLOW):
            until(
                admit,
                lambda found: found[0]["state"] == "done",
                *("endpoint", "campaigns", "notes", told),
            )
            until(
                admit,
                lambda found: len(found) == PEOPLE,
                *("delivery", "list", "notes", "--state", "delivered"),
            )


def test_endpoint_that_is_paused_is_not_waited_for(admit: CommandLine) -> None:
    with far_side() as far, serving(admit.folder, **ALLOW):
        told = endpoint(admit, far)
        admit.done("endpoint", "pause", "notes", told)
        ended = admit("endpoint", "backfill", "notes", told, "--of", "user")
        assert (ended.code, "state\twaiting\n" in ended.out) == (0, True)
        assert "admit endpoint resume" in ended.err
        admit.done("endpoint", "resume", "notes", told)
        until(
            admit,
            lambda found: {each["state"] for each in found} == {"done"},
            *("endpoint", "campaigns", "notes"),
        )
