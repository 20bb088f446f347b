"""`admit session …`, `admit device …`, `admit user lock`: through a server that holds a SQLite file, and into
PostgreSQL beside one."""

import itertools
import json
import os
import pty
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands import CLEAN, Runner
from tests.contract.command_line import ADMIT, CommandLine, serving
from tests.contract.signin_desk import device
from tests.postgres import Cluster

SECRET_KEY = "the-secret-key-of-session-commands-0123456"
ADA, BOB = "ada@example.com", "bob@example.com"
PHONE = {"id": "phone-1", "label": "Ada’s phone", "platform": "ios", "model": "iPhone 15"}

_numbers = itertools.count(1)


@dataclass
class Way:
    """A command line, and the server where people enroll."""

    admit: CommandLine
    address: str

    def enrolls(self, app: "App", user_id: str, sent: dict[str, str] | None = None) -> str:
        """Has a person enroll on a device; returns the id of the session."""
        body = {
            "grant_type": "client_credentials",
            "client_id": app.client["client_id"],
            "client_secret": app.client["client_secret"],
            "scopes": ["ACCESS_DB"],
            "claims": {"sub": user_id, "email": user_id},
            "public_key": device().public_key.pem,
            **({} if sent is None else {"device": sent}),
        }
        request = urllib.request.Request(
            f"{self.address}/{app.name}/token",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=60).close()
        newest: dict[str, Any] = self.admit.json("session", "list", app.name, "--user", user_id)[0]
        return str(newest["id"])


@dataclass
class App:
    """An app and a client that vouches for people."""

    name: str
    client: dict[str, str]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def way(
    request: pytest.FixtureRequest, runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Way]:
    """One database for all tests here, reached in each way in turn."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    match request.param:
        case "sqlite":
            with serving(folder) as server:
                yield Way(CommandLine(runner, folder), server.address)
        case _:
            cluster: Cluster = request.getfixturevalue("postgres_cluster")
            url = cluster.create_database("session_commands")
            environ = {"ADMIT_DATABASE_URL": url, "ADMIT_SECRET_KEY": SECRET_KEY}
            with serving(folder, **environ) as server:
                yield Way(CommandLine(runner, folder, environ), server.address)
            cluster.drop_database("session_commands")


@pytest.fixture
def admit(way: Way) -> CommandLine:
    return way.admit


@pytest.fixture
def app(admit: CommandLine) -> App:
    """A new app in which nobody lives."""
    name = f"app-{next(_numbers)}"
    admit.done("app", "create", name, "--owner", "owner@example.com")
    return App(name, admit.json("client", "create", name))


@pytest.fixture
def enrolls(way: Way, app: App) -> Callable[..., str]:
    """Enrolls a person of the app; see `Way.enrolls`."""
    return lambda *arguments: way.enrolls(app, *arguments)


def test_sessions_are_listed_by_person_and_device(
    admit: CommandLine, app: App, enrolls: Callable[..., str]
) -> None:
    on_phone, in_browser = enrolls(ADA, PHONE), enrolls(ADA)
    of_bob = enrolls(BOB, {"id": "phone-1"})

    def listed(*options: str) -> list[str]:
        return [each["id"] for each in admit.json("session", "list", app.name, *options)]

    assert listed("--user", ADA) == [in_browser, on_phone]
    assert listed("--user", ADA, "--device", "phone-1") == [on_phone]
    assert listed("--device", "phone-1") == [of_bob, on_phone]
    assert listed() == [in_browser, on_phone, of_bob]
    assert listed("--limit", "2") == [in_browser, on_phone]
    admit.done("session", "lock", app.name, on_phone)
    assert listed("--state", "LOCKED") == listed("--state", "locked") == [on_phone]
    assert listed("--active") == [in_browser, of_bob]
    assert listed("--user", ADA, "--active", "--since", "1h", "--signed-in-since", "1h") == [in_browser]
    assert listed("--since", "0s") == []

    table = admit.done("session", "list", app.name, "--device", "phone-1").splitlines()
    assert table[0].split("\t")[:4] == ["SESSION ID", "USER ID", "STATE", "NO."]
    assert table[2].split("\t")[:4] == [on_phone, ADA, "LOCKED (locked)", "1"]


def test_a_session_is_shown_with_its_device(
    admit: CommandLine, app: App, enrolls: Callable[..., str]
) -> None:
    session = enrolls(ADA, PHONE)

    facts = dict(line.split("\t") for line in admit.done("session", "show", app.name, session).splitlines())
    assert facts["user id"] == ADA
    assert facts["state"] == "ENROLLED"
    assert (facts["device id"], facts["label"]) == ("phone-1", "Ada’s phone")
    assert (facts["platform"], facts["model"]) == ("ios", "iPhone 15")
    assert facts["opened"].endswith("Z")
    assert "." not in facts["opened"]
    assert admit.json("session", "show", app.name, session)["user"]["user_id"] == ADA


def test_a_session_is_locked_unlocked_reauthenticated_and_wiped(
    admit: CommandLine, app: App, enrolls: Callable[..., str]
) -> None:
    session = enrolls(ADA, PHONE)

    locked = admit("session", "lock", app.name, session)
    assert locked.out == f"{session} of {ADA} is locked.\n"
    assert locked.err == f"Back: admit session unlock {app.name} {session}\n"
    assert "state\tLOCKED: an operator has locked it\n" in admit.done("session", "show", app.name, session)
    assert admit.json("session", "unlock", app.name, session)["state"] == "ENROLLED"
    assert admit.json("session", "reauthenticate", app.name, session)["reason"] == "reauthenticate"
    assert "Nobody is here to ask" in admit.refused("session", "wipe", app.name, session, code=2)
    wiped = admit("session", "wipe", app.name, session, "--yes")
    assert wiped.out == f"{session} of {ADA} is wiped.\n"
    assert f"admit session show {app.name} {session}" in wiped.err
    assert "erased\tits device has not said so yet\n" in admit.done("session", "show", app.name, session)
    assert admit.refused("session", "unlock", app.name, session).startswith("This session is over")
    told = [each["type"] for each in admit.json("event", "list", app.name) if "session." in each["type"]]
    assert told == [
        "session.started",
        "session.locked",
        "session.unlocked",
        "session.locked",
        "session.wiped",
    ]


def test_a_person_is_locked_out_everywhere_and_comes_back(
    admit: CommandLine, app: App, enrolls: Callable[..., str]
) -> None:
    sessions = {enrolls(ADA, PHONE), enrolls(ADA)}

    ended = admit("user", "lock", app.name, ADA)
    assert (ended.out, ended.err) == (f"{ADA} is locked.\n", f"Back: admit user unlock {app.name} {ADA}\n")
    locked = admit.json("session", "list", app.name, "--state", "LOCKED")
    assert {each["id"] for each in locked} == sessions
    assert {each["reason"] for each in locked} == {"user_locked"}
    assert "locked\tno\n" not in admit.done("user", "show", app.name, ADA)
    assert admit.done("user", "unlock", app.name, ADA) == f"{ADA} is unlocked.\n"
    assert len(admit.json("session", "list", app.name, "--active")) == 2
    assert "locked\tno\n" in admit.done("user", "show", app.name, ADA)


def test_a_person_gets_a_limit_of_devices(admit: CommandLine, app: App, enrolls: Callable[..., str]) -> None:
    enrolls(ADA)

    def limit(text: str) -> str:
        return admit.done("user", "device-limit", app.name, ADA, text)

    assert limit("2") == f"{ADA} may be enrolled on 2 devices at once.\n"
    assert "devices\t2 devices\n" in admit.done("user", "show", app.name, ADA)
    assert limit("none") == f"{ADA} may be enrolled on any number of devices at once.\n"
    assert limit("app") == f"{ADA} may be enrolled on as many devices as the app allows at once.\n"
    for text in ("0", "-1", "some", "1001", "9" * 30):
        assert "admit user lock" in admit.refused("user", "device-limit", app.name, ADA, "--", text, code=2)


def test_devices_of_a_person_are_listed(admit: CommandLine, app: App, enrolls: Callable[..., str]) -> None:
    on_phone = enrolls(ADA, PHONE)
    in_browser = enrolls(ADA)
    admit.done("session", "lock", app.name, on_phone)

    browser, phone = admit.json("device", "list", app.name, ADA)
    assert (browser["derived"], phone["derived"]) == (True, False)
    assert (phone["id"], phone["label"], phone["container"]["platform"]) == ("phone-1", "Ada’s phone", "ios")
    assert (browser["session"]["id"], phone["session"]["reason"]) == (in_browser, "locked")
    lines = admit.done("device", "list", app.name, ADA).splitlines()
    row = dict(zip(*(line.split("\t") for line in (lines[0], lines[2])), strict=True))
    assert (row["DEVICE ID"], row["ID FROM"], row["STATE"]) == ("phone-1", "client", "LOCKED (locked)")
    assert row["NEWEST SESSION"] == on_phone


def test_whoever_is_not_there_is_not_found(admit: CommandLine, app: App) -> None:
    for arguments in (
        ["session", "list", app.name, "--user", ADA],
        ["device", "list", app.name, ADA],
        ["user", "lock", app.name, ADA],
        ["user", "unlock", app.name, ADA],
        ["user", "device-limit", app.name, ADA, "3"],
    ):
        assert admit.refused(*arguments, code=3) == "There is no such user in this app."
    for verb in ("show", "lock", "unlock", "reauthenticate", "wipe"):
        sentence = admit.refused("session", verb, app.name, "ses_x", code=3)
        assert sentence == "There is no such session in this app."
    for noun in ("session", "device"):
        arguments = [noun, "list", f"{app.name}s", *([ADA] if noun == "device" else [])]
        assert f"There is no app '{app.name}s'. Is {app.name!r}" in admit.refused(*arguments, code=3)


def test_empty_lists_say_how_somebody_enrolls(runner: Runner, tmp_path: Path) -> None:
    admit = CommandLine(runner, tmp_path)
    admit.done("app", "create", "notes", "--owner", "owner@example.com")
    admit.post("apps/notes/users", [{"userId": ADA, "type": "prod"}])

    def shown(*arguments: str) -> str:
        ours, theirs = pty.openpty()
        done = subprocess.run(
            [*ADMIT, *arguments],
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
            env=CLEAN | {"NO_COLOR": "1"},
        )
        os.close(theirs)
        text = os.read(ours, 10_000).decode()
        os.close(ours)
        assert done.returncode == 0
        return text

    link = f"`admit enrollment create notes {ADA}` makes a link"
    assert "Nobody has enrolled yet. `admit enrollment create notes " in shown("session", "list", "notes")
    assert link in shown("session", "list", "notes", "--user", ADA)
    assert link in shown("device", "list", "notes", ADA)
    assert "admit device list notes " in shown("session", "list", "notes", "--device", "phone-1")
    assert "Without --state" in shown("session", "list", "notes", "--active")
