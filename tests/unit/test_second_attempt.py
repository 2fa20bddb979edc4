"""Failed tests of processes and browsers run once more when that is asked for, and nothing of it is hidden."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Only the plugins that are needed: to import the others takes longer than these tests.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": "pytest_timeout,xdist.plugin",
}

CONFTEST = """
import pytest
from tests import second_attempt
from tests.second_attempt import FlakyTests, SecondAttempt

counts = {}

def counted(name):
    counts[name] = counts.get(name, 0) + 1
    return counts[name]

def pytest_addoption(parser):
    second_attempt.add_option(parser)

def pytest_configure(config):
    if config.getoption("second_attempt"):
        config.pluginmanager.register(SecondAttempt())
        config.pluginmanager.register(FlakyTests())

@pytest.fixture(scope="session")
def session_that_starts_late():
    assert counted("late") == 2, "the server does not listen"

@pytest.fixture(scope="session")
def session_that_never_starts():
    assert not counted("never"), "no port is free"

@pytest.fixture(scope="module")
def started():
    yield counted("started")

@pytest.fixture
def ends_badly():
    yield
    assert counted("ended") == 2, "it did not end in time"

@pytest.fixture
def count():
    return counted

times_left_s = []

@pytest.fixture
def left_s():
    return times_left_s
"""

TESTS = """
import signal
import time

import pytest

def test_passes(count):
    assert count("passes") == 1

def test_passes_late(count):
    assert count("passes late") == 2, "it was not so in time"

def test_never_passes(count):
    assert count("never passes") == 0, "it never is"

def test_session_late(session_that_starts_late):
    pass

def test_session_never(session_that_never_starts):
    pass

def test_module_is_new_at_the_second_attempt(started, count):
    assert count("with module") + started == 4

def test_ends_badly(ends_badly):
    pass

def test_skips_at_the_second_attempt(count):
    if count("skips") == 2:
        pytest.skip("not now")
    assert False, "before it skipped"

@pytest.mark.timeout(600)
def test_each_attempt_has_the_whole_time(left_s):
    begun_with_s = signal.getitimer(signal.ITIMER_REAL)[0]
    time.sleep(0.2)
    left_s.append(signal.getitimer(signal.ITIMER_REAL)[0])
    assert len(left_s) == 2, "it took its time"
    assert begun_with_s > left_s[0]
"""

LIMITED_CONFTEST = """
from tests import time_limits

def pytest_configure(config):
    config.pluginmanager.register(time_limits)
"""

LIMITED_TESTS = """
import asyncio
import time
from pathlib import Path

import pytest

@pytest.fixture
def server():
    yield
    Path("ended").touch()

@pytest.mark.timeout(1)
def test_hangs(server):
    {hang}

def test_next():
    pass
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with unit tests, and the same tests as integration tests."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n")
    (folder / "conftest.py").write_text(CONFTEST)
    for level in ("unit", "integration"):
        (folder / level).mkdir()
        (folder / level / f"test_{level}.py").write_text(TESTS)
    return folder


def outcomes(folder: Path, *arguments: str) -> tuple[dict[str, str], str]:
    """Run the project's tests; return their outcomes by name, and all that was printed."""
    command = [sys.executable, "-m", "pytest", "-v", "-rA", *arguments]
    printed = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=115, env=ENVIRONMENT
    ).stdout
    short = printed.partition("short test summary info")[2] + printed.partition("passed on the second attempt")[2]
    return {name: outcome for outcome, name in re.findall(r"^(\w+) \S+::test_(\w+)", short, re.MULTILINE)}, printed


@pytest.mark.parametrize("workers", [(), ("-n", "1", "--dist", "loadfile")], ids=["alone", "in a worker"])
def test_failed_tests_of_processes_run_once_more(folder: Path, workers: tuple[str, ...]) -> None:
    by_name, printed = outcomes(folder, "--second-attempt", *workers, "integration")
    assert by_name == {
        "passes": "PASSED",
        "passes_late": "FLAKY",
        "never_passes": "FAILED",
        "session_late": "FLAKY",
        "session_never": "ERROR",
        "module_is_new_at_the_second_attempt": "FLAKY",
        "ends_badly": "FLAKY",
        "skips_at_the_second_attempt": "FAILED",
        "each_attempt_has_the_whole_time": "FLAKY",
    }
    told = printed.partition("Flaky: passed on the second attempt")[2]
    for failure in ("it was not so in time", "the server does not listen", "it did not end in time"):
        assert failure in told
    assert "before it skipped" in printed
    assert "2 failed, 1 passed, 1 error, 5 flaky" in re.sub(r"\x1b\[\d+m", "", printed)


def test_unit_tests_never_run_again(folder: Path) -> None:
    by_name, printed = outcomes(folder, "--second-attempt", "unit")
    assert [name for name, outcome in by_name.items() if outcome == "PASSED"] == ["passes"]
    assert "Flaky" not in printed


def test_nothing_runs_again_unasked(folder: Path) -> None:
    by_name, printed = outcomes(folder, "integration")
    assert [name for name, outcome in by_name.items() if outcome == "PASSED"] == ["passes"]
    assert "Flaky" not in printed


@pytest.mark.parametrize("hangs_in", ["a sleep", "an event loop"])
def test_a_test_at_its_time_limit_fails_and_its_fixtures_end(tmp_path: Path, hangs_in: str) -> None:
    hang = {"a sleep": "time.sleep(60)", "an event loop": "asyncio.run(asyncio.sleep(60))"}[hangs_in]
    (tmp_path / "conftest.py").write_text(LIMITED_CONFTEST)
    (tmp_path / "test_hang.py").write_text(LIMITED_TESTS.format(hang=hang))
    by_name, _ = outcomes(tmp_path)
    assert by_name == {"hangs": "FAILED", "next": "PASSED"}
    assert (tmp_path / "ended").exists()
