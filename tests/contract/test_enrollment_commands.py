"""`admit enrollment …`, alike by every way: into a SQLite file, through a server, into PostgreSQL."""

import itertools
import os
import pty
import subprocess

import pytest

from admit.cli.connection import target
from tests.commands import CLEAN
from tests.contract.command_line import ADMIT, CommandLine

SECRET_KEY = "the-secret-key-of-enrollment-commands-0123"
ADA = "ada@example.com"

_numbers = itertools.count(1)


@pytest.fixture
def app(admit: CommandLine) -> str:
    """The name of a new app in which Ada lives."""
    name = f"app-{next(_numbers)}"
    admit.done("app", "create", name, "--owner", "owner@example.com")
    admit.post(target("apps", name, "users"), [{"userId": ADA, "type": "prod"}])
    return name


def test_a_link_is_made_listed_and_revoked(admit: CommandLine, app: str) -> None:
    made = admit.json(
        "enrollment", "create", app, ADA, "--expires", "1h", "--uses", "2", "--device", "tablet-7"
    )

    assert made["url"].endswith(f"/{app}#enrollment_token={made['token']}")
    assert made["qr_svg"].startswith("data:image/svg+xml")
    (listed,) = admit.json("enrollment", "list", app, ADA)
    assert made["expires_at"] == listed["expires_at"] == listed["created_at"] + 3_600_000
    assert (listed["state"], listed["uses"], listed["uses_max"], listed["device"]) == (
        "active",
        0,
        2,
        "tablet-7",
    )
    done = admit.done("enrollment", "revoke", app, ADA, made["token_id"], "--yes")
    assert done == f"{made['token_id']} is revoked.\n"
    table = admit.done("enrollment", "list", app, ADA)
    assert f"{made['token_id']}\trevoked\t0 of 2\ttablet-7\t" in table
    assert made["token"] not in table


def test_a_pipe_gets_the_link_until_when_it_is_good_and_no_picture(admit: CommandLine, app: str) -> None:
    ended = admit("enrollment", "create", app, ADA)

    assert ended.code == 0
    facts = dict(line.split("\t") for line in ended.out.splitlines())
    assert facts.keys() == {"link", "good until", "good for", "token id"}
    assert "#enrollment_token=enr_" in facts["link"]
    assert facts["good until"].endswith("Z")
    assert facts["good for"] == "one device"
    assert "cannot be shown again" in ended.err


def test_a_terminal_shows_the_picture(admit: CommandLine, app: str) -> None:
    ours, theirs = pty.openpty()
    environ = CLEAN | admit.environ | {"NO_COLOR": "1", "COLUMNS": "120"}
    with subprocess.Popen(
        [*ADMIT, "enrollment", "create", app, ADA],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        cwd=admit.folder,
        env=environ,
    ) as process:
        os.close(theirs)
        shown = read_all(ours)
    assert process.returncode == 0
    assert "#enrollment_token=enr_" in shown
    drawn = [line for line in shown.splitlines() if line and set(line) <= set(" ▀▄█")]
    assert len(drawn) > 20
    assert len({len(line) for line in drawn}) == 1


def test_what_makes_no_sense_is_refused(admit: CommandLine, app: str) -> None:
    assert admit("enrollment", "create", app, "nobody@example.com").code == 3
    assert admit("enrollment", "create", "no-such-app", ADA).code == 3
    assert "expires_in_seconds" in admit.refused("enrollment", "create", app, ADA, "--expires", "31d")
    assert "device" in admit.refused("enrollment", "create", app, ADA, "--device", "key_x")
    assert admit("enrollment", "revoke", app, ADA, "ent_unknown", "--yes").code == 3
    assert "Nobody is here to ask" in admit.refused("enrollment", "revoke", app, ADA, "ent_1", code=2)
    assert admit.json("enrollment", "list", app, ADA) == []


def test_the_operator_sets_where_links_lead(admit: CommandLine, app: str) -> None:
    assert "enrollment_link" in admit.refused(
        "setting", "set", app, "--enrollment-link", "javascript://x/{token}"
    )
    admit.done("setting", "set", app, "--enrollment-link", "com.example.notes://enroll/{token}")
    made = admit.json("enrollment", "create", app, ADA)
    assert made["url"] == f"com.example.notes://enroll/{made['token']}"


def read_all(descriptor: int) -> str:
    """What was written to a terminal until all who could write had gone."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65_536)
        except OSError:  # how Linux says that nobody can write any more
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()
