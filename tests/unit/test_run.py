"""How the tests themselves are run: two parts, one status, and one line for each program that is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import run
from tests.unit.test_second_attempt import ENVIRONMENT

OK, FAILED, NONE = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED
CONFTEST = """
import pytest
from tests import missing_programs, workers

def pytest_addoption(parser):
    workers.add_option(parser)

def pytest_configure(config):
    config.addinivalue_line("markers", "alone: in this project too")
    config.pluginmanager.register(missing_programs)

def pytest_collection_modifyitems(config, items):
    workers.select(config, items)
"""
TESTS = """
import pytest

@pytest.mark.alone
def test_measures():
    pass

def test_computes():
    pass

@pytest.mark.parametrize("page", range(2))
def test_looks(page):
    pytest.skip("needs Chromium")
"""


@pytest.mark.parametrize(
    ("statuses", "whole"),
    [
        ([OK, OK], OK),
        ([OK, NONE], OK),
        ([NONE, OK], OK),
        ([NONE, NONE], NONE),
        ([OK, FAILED], FAILED),
        ([FAILED, OK], FAILED),
        ([FAILED, NONE], FAILED),
        ([NONE, FAILED], FAILED),
        ([pytest.ExitCode.INTERRUPTED, FAILED], pytest.ExitCode.INTERRUPTED),
    ],
)
def test_the_whole_passes_only_if_every_part_with_tests_does(
    statuses: list[pytest.ExitCode], whole: pytest.ExitCode
) -> None:
    assert run.exit_status(statuses) == whole


def test_each_test_is_in_one_part_and_missing_programs_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "unit"
    folder.mkdir()
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (folder / "test_all.py").write_text(TESTS)

    def printed(part: str) -> str:
        command = [sys.executable, "-m", "pytest", "-v", "--part", part]
        ended = subprocess.run(
            command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=100
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    beside, alone = printed("beside"), printed("alone")
    assert "test_computes PASSED" in beside and "test_measures" not in beside
    assert "test_measures PASSED" in alone and "test_computes" not in alone
    assert "There is no Chromium here: 2 tests did not run." in beside
    assert "Chromium" not in alone
