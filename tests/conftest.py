"""Fixtures that every test may use: a fresh database of each kind, and a key ring."""

import asyncio
import itertools
import logging
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from admit.storage.database import Database
from admit.storage.migrate import migrate
from admit.storage.sealing import KeyRing
from tests import identity_provider as identity_providers
from tests.identity_provider import IdentityProvider
from tests.postgres import Cluster

TEMPLATE = "admit_template"

_numbers = itertools.count(1)


class _AtOnce:
    """Says what failed as soon as it has, so that a run which is cut short has told it."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.write_line(f"\n{report.nodeid} ({report.when})\n{report.longreprtext}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # A job in the background is started deaf to Ctrl-C, and so would be all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if terminal := config.pluginmanager.get_plugin("terminalreporter"):
        config.pluginmanager.register(_AtOnce(terminal))


@pytest.fixture(autouse=True)
def _log_as_at_the_start() -> None:
    """What one test has set up for the log does not decide what the next one captures."""
    structlog.reset_defaults()
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """One PostgreSQL for all tests of this process."""
    cluster = Cluster()
    try:
        cluster.create()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="session")
def postgres_template(postgres_cluster: Cluster) -> str:
    """The name of a database with all tables, to be copied."""
    migrate(postgres_cluster.create_database(TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "admit.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def postgres_url(postgres_cluster: Cluster, postgres_template: str) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database with all tables."""
    name = f"test_{next(_numbers)}"
    yield postgres_cluster.create_database(name, postgres_template)
    postgres_cluster.drop_database(name)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a fresh SQLite file with all tables."""
    path = tmp_path / "admit.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database with all tables, of each kind in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh database with all tables, open on the running loop."""
    database = Database(database_url)
    database.signals.attach(asyncio.get_running_loop())
    yield database
    database.close()


@pytest.fixture(scope="session")
def ring() -> KeyRing:
    """A key ring with one key."""
    return KeyRing.parse("the-secret-key-of-all-tests-0123456789")


@pytest.fixture(scope="session")
def running_identity_provider() -> Iterator[IdentityProvider]:
    """One identity provider for all tests of this process."""
    with identity_providers.running() as provider:
        yield provider


@pytest.fixture
def identity_provider(running_identity_provider: IdentityProvider) -> IdentityProvider:
    """npm's oidc-provider, which knows Ada and nobody else."""
    running_identity_provider.begin_anew()
    return running_identity_provider
