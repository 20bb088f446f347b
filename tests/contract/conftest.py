"""Fixtures of the contract tests."""

from collections.abc import Iterator

import pytest

from tests import commands
from tests.commands import Runner
from tests.contract.command_line import CommandLine, serving
from tests.contract.served import (
    door,
    migrated_postgres,
    migrated_sqlite,
    served,
    served_postgres_url,
    served_sqlite_url,
    served_url,
)
from tests.postgres import Cluster

__all__ = [
    "door",
    "migrated_postgres",
    "migrated_sqlite",
    "served",
    "served_postgres_url",
    "served_sqlite_url",
    "served_url",
]

SECRET_KEY = "the-secret-key-of-command-lines-0123456789"


@pytest.fixture(scope="session")
def runner() -> Runner:
    """What runs the commands of all tests of this process."""
    return commands.runner()


@pytest.fixture(scope="module", params=["file", "server", "postgres"])
def admit(
    request: pytest.FixtureRequest, runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommandLine]:
    """A command line on one database for all tests of a module, which it reaches in each way in turn."""
    folder = tmp_path_factory.mktemp(request.param)
    match request.param:
        case "file":
            line = CommandLine(runner, folder)
            line("token", "create")
            yield line
        case "server":
            with serving(folder):
                yield CommandLine(runner, folder)
        case _:
            cluster: Cluster = request.getfixturevalue("postgres_cluster")
            name = request.module.__name__.rpartition(".")[2]
            url = cluster.create_database(name)
            yield CommandLine(runner, folder, {"ADMIT_DATABASE_URL": url, "ADMIT_SECRET_KEY": SECRET_KEY})
            cluster.drop_database(name)
