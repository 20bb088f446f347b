"""Commands that tell how endpoints are doing, find events from the newest on, and describe them."""

from pathlib import Path

import pytest

from admit.cli.connection import target
from tests.commands import Runner
from tests.contract.command_line import CommandLine, serving
from tests.contract.test_cli_campaigns import ALLOW, endpoint, far_side, until


@pytest.fixture
def admit(runner: Runner, tmp_path: Path) -> CommandLine:
    """The command line beside a SQLite file with an app."""
    line = CommandLine(runner, tmp_path, dict(ALLOW))
    line("app", "create", "notes", "--owner", "ada@example.com")
    return line


def test_figures_events_and_deliveries_of_one_are_told(admit: CommandLine) -> None:
    with far_side() as far, serving(admit.folder, **ALLOW):
        told = endpoint(admit, far)
        admit.post(target("apps", "notes", "users"), [{"userId": "bob@example.com", "type": "prod"}])
        admit.post(target("apps", "notes", "users"), [{"userId": "eve@example.com", "type": "eval"}])
        [figures] = until(
            admit, lambda found: [each["accepted"] for each in found] == [2], "endpoint", "figures", "notes"
        )
        assert (figures["id"], figures["failed"], figures["waiting"]) == (told, 0, 0)
        assert f"{told}\t2\t0\t" in admit.done("endpoint", "figures", "notes")

        newest = admit.json("event", "list", "notes", "--before", "latest", "--limit", "1")
        assert newest[0]["data"]["user"]["user_id"] == "eve@example.com"
        ended = admit("event", "list", "notes", "--before", "latest", "--limit", "1")
        cursor = ended.err.strip().removeprefix("Go on with: --before ")
        assert "bob@example.com" in admit("event", "list", "notes", "--before", cursor).out
        assert admit("event", "list", "notes", "--device", "nobodys").out.count("\n") <= 1

        [delivery] = admit.json("delivery", "list", "notes", "--event", newest[0]["id"])
        assert (delivery["endpoint"], delivery["user_id"]) == (told, "eve@example.com")
        shown = admit.done("event", "show", "notes", newest[0]["id"])
        assert '"user_id": "eve@example.com"' in shown
        unknown = admit.refused("event", "show", "notes", "evt_x", code=3)
        assert unknown == "There is no event 'evt_x' in this app any more."


def test_types_are_listed_and_described(admit: CommandLine) -> None:
    assert "user.enrolled\teverybody\tA person was admitted" in admit.done("event", "types", "notes")
    assert '"email": "ada@example.com"' in admit.done("event", "describe", "notes", "user.enrolled")
    assert admit.json("event", "describe", "notes", "user.enrolled")["schema"]["title"] == "user.enrolled"
    assert "Is 'user.enrolled' meant?" in admit.refused("event", "describe", "notes", "user.enroled")


def test_both_directions_at_once_are_refused(admit: CommandLine) -> None:
    refused = admit("event", "list", "notes", "--after", "beginning", "--device", "x")
    assert refused.code == 2
    assert "--after goes neither with --before nor with --device" in refused.err
