"""Fixtures of all tests: real embedded servers on state folders of their own, started when a test first asks."""

import gc
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deployments.config import HistorySettings
from deployments.infra.postgres.database import Database
from deployments.local.servers.postgres import PostgresServer
from deployments.local.servers.valkey import ValkeyServer
from deployments.local.state import StateFolder
from tests import certificates, missing_programs, processor_time, second_attempt, time_limits, workers
from tests.databases import execute, own_database
from tests.folders import roomy_memory


def pytest_addoption(parser: pytest.Parser) -> None:
    second_attempt.add_option(parser)
    workers.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    certificates.read_when_needed()
    config.pluginmanager.register(time_limits)
    config.pluginmanager.register(missing_programs)
    config.pluginmanager.register(processor_time)
    if config.getoption("second_attempt"):
        config.pluginmanager.register(second_attempt.SecondAttempt())
        config.pluginmanager.register(second_attempt.FlakyTests())


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return workers.module_without_tests(module_path, parent)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers.select(config, items)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking through all imported modules whenever a test makes it run."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> workers.Scheduling:
    """Say which tests share a worker."""
    return workers.Scheduling(config, log)


@pytest.fixture(scope="session")
def new_folder() -> Generator[Callable[[], Path]]:
    """Makes folders with short paths: in memory where there is room, since databases wait for their disk."""
    parent = roomy_memory()
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="chatllm-test-", dir=parent)))
        return made[-1]

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def session_state(new_folder: Callable[[], Path]) -> StateFolder:
    """A state folder for the servers that the whole run shares."""
    return StateFolder.open(new_folder() / "state")


@pytest.fixture(scope="session")
def postgres_url(session_state: StateFolder) -> Generator[str]:
    """The address of a real Postgres with an empty database `chatllm`."""
    server = PostgresServer(session_state)
    yield server.start()
    server.stop()


@pytest.fixture(scope="session")
def valkey_url(session_state: StateFolder) -> Generator[str]:
    """The address of a real Valkey."""
    server = ValkeyServer(session_state)
    yield server.start()
    server.stop()


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncGenerator[str]:
    """The address of an empty database that this test has for itself."""
    async with own_database(postgres_url) as url:
        yield url


@pytest.fixture
async def database(postgres_url: str) -> AsyncGenerator[Database]:
    """An open `Database` with the schema and nothing else in it."""
    database = Database(SecretStr(postgres_url), HistorySettings())
    await database.open()
    yield database
    await database.close()
    await execute(postgres_url, "DELETE FROM conversations; DELETE FROM stored_completions; DELETE FROM api_keys")
    await execute(postgres_url, "DELETE FROM usage_by_day; DELETE FROM usage_batches; DELETE FROM files")
    await execute(postgres_url, "DELETE FROM batches; DELETE FROM batch_watch; DELETE FROM file_removals")


@pytest.fixture
def new_state(new_folder: Callable[[], Path]) -> Generator[StateFolder]:
    """An empty state folder for one test; its path is short enough for a unix socket."""
    folder = new_folder()
    yield StateFolder.open(folder / "state")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def initialised(new_folder: Callable[[], Path]) -> Path:
    """A state folder in which Postgres has been started before."""
    folder = new_folder()
    server = PostgresServer(StateFolder.open(folder))
    server.start()
    server.stop()
    return folder


@pytest.fixture
def state(new_state: StateFolder, initialised: Path) -> StateFolder:
    """A state folder for one test, not the first start in it: that takes longer."""
    shutil.copytree(initialised, new_state.path, dirs_exist_ok=True)
    return new_state
