"""How the tests themselves are run: four parts, one status, and one line for each program that is missing."""

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests import run, workers
from tests.unit.test_second_attempt import ENVIRONMENT

ROOT = Path(__file__).parents[2]
OK, FAILED, NONE = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED
CONFTEST = """
import pytest
from tests import missing_programs, workers

def pytest_addoption(parser):
    workers.add_option(parser)

def pytest_configure(config):
    config.addinivalue_line("markers", "alone: in this project too")
    config.pluginmanager.register(missing_programs)

def pytest_pycollect_makemodule(module_path, parent):
    return workers.module_without_tests(module_path, parent)

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
# Not on a line of its own in the text below: this file would count as one that imports the engine.
IMPORT = "import vllm"
WITH_ENGINE = f"""
import pytest

def test_reads_as_the_engine_does():
    if False:
        {IMPORT}

@pytest.mark.alone
def test_measures_the_engine():
    pass
"""
WITH_SERVICES = """
import pytest

def test_starts_a_service():
    pass

@pytest.mark.alone
def test_measures_a_service():
    pass
"""
TESTS_BY_NAME = [
    *(f"serve/test_services.py::test_{name}" for name in ("starts_a_service", "measures_a_service")),
    *(f"unit/test_all.py::test_{name}" for name in ("measures", "computes", "looks")),
    *(f"unit/test_engine.py::test_{name}" for name in ("reads_as_the_engine_does", "measures_the_engine")),
]
WAITS = """
import os, time
from pathlib import Path
import pytest

@pytest.fixture
def server():
    told = Path(__file__).parents[1] / Path(__file__).stem
    partial = told.with_suffix(".partial")
    partial.write_text(str(os.getpid()))
    partial.rename(told.with_suffix(".running"))
    yield
    told.with_suffix(".torn_down").touch()

def test_waits(server):
    time.sleep(100)
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


def processors_of(count: int, _process: int) -> set[int]:
    return set(range(count))


def test_there_is_a_worker_more_than_processors_and_never_a_fourth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKERS", raising=False)
    found = list[int]()
    for processors in (1, 2, 64):
        monkeypatch.setattr("os.sched_getaffinity", partial(processors_of, processors))
        found.append(run.number_of_workers())
    assert found == [2, 3, 3]
    monkeypatch.setenv("WORKERS", "0")
    assert run.number_of_workers() == 0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose tests are divided as those of this project are."""
    folder = tmp_path / "unit"
    folder.mkdir()
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (folder / "test_all.py").write_text(TESTS)
    (folder / "test_engine.py").write_text(WITH_ENGINE)
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "test_services.py").write_text(WITH_SERVICES)
    return tmp_path


@pytest.mark.parametrize(
    "named", [[], ["unit/test_all.py", "unit/test_engine.py", "serve"], TESTS_BY_NAME], ids=["all", "files", "tests"]
)
def test_each_test_is_in_one_part_and_missing_programs_are_told(project: Path, named: list[str]) -> None:
    def printed(part: str) -> str:
        command = [sys.executable, "-m", "pytest", "-v", "--part", part, *named]
        ended = subprocess.run(
            command, cwd=project, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=100
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    beside, services, engine, alone = map(printed, workers.PARTS)
    assert "test_computes PASSED" in beside and "test_measures" not in beside and "engine" not in beside
    assert "service" not in beside + engine
    assert "test_starts_a_service PASSED" in services and services.count("PASSED") == 1
    assert "test_reads_as_the_engine_does PASSED" in engine and "test_measures" not in engine
    assert "test_computes" not in engine
    assert "test_measures PASSED" in alone and "test_measures_the_engine PASSED" in alone
    assert "test_measures_a_service PASSED" in alone and "test_starts_a_service" not in alone
    assert "test_computes" not in alone and "test_reads_as_the_engine_does" not in alone
    assert "There is no Chromium here: 2 tests did not run." in beside
    assert "Chromium" not in alone


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["beside", "services", "engine", "alone"]),
        (["-k", "unit"], ["beside", "services", "engine", "alone"]),
        (["--ignore", "unit"], ["beside", "services", "engine", "alone"]),
        (["unit"], ["beside", "engine", "alone"]),
        (["-m", "hypothesis", "unit/test_all.py::test_computes"], ["beside", "engine", "alone"]),
        (["serve/test_services.py", "--second-attempt"], ["services", "alone"]),
        (["serve", "unit"], ["beside", "services", "engine", "alone"]),
    ],
)
def test_parts_that_no_argument_names_are_not_started(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], parts: list[str]
) -> None:
    monkeypatch.chdir(project)
    assert [part for part in workers.PARTS if workers.may_have_tests(part, arguments)] == parts


def test_files_that_share_a_service_share_a_worker() -> None:
    scheduling = workers.Scheduling.__new__(workers.Scheduling)
    files = ["tests/e2e/product/test_api.py", "tests/e2e/product/test_page.py", "tests/e2e/test_speech.py"]
    units = [scheduling._split_scope(f"{file}::test_it[a::b]") for file in files]  # pyright: ignore[reportPrivateUsage]
    assert units == ["tests/e2e/product", "tests/e2e/product", "tests/e2e/test_speech.py"]
    for folder in workers.SHARING:  # the fixture of a folder that is no package would last as long as the run
        assert (ROOT / folder / "__init__.py").exists() and 'scope="package"' in (
            ROOT / folder / "conftest.py"
        ).read_text()


def start_run(project: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.run", *arguments],
        cwd=project,
        env={**ENVIRONMENT, "WORKERS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_parts_without_tests_pass_in_workers_too(project: Path) -> None:
    process = start_run(project, "unit/test_engine.py", "-k", "reads")
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    assert output.count("1 passed") == 1 and "INTERNALERROR" not in output
    assert "Tests that others may run beside: no tests collected" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_run_tears_all_parts_down(project: Path, number: signal.Signals) -> None:
    (project / "unit" / "test_all.py").write_text(WAITS)
    (project / "unit" / "test_engine.py").write_text(WAITS.replace("sleep(100)", f"sleep(100)\n    {IMPORT}"))
    (project / "serve" / "test_services.py").write_text(WAITS)
    process = start_run(project)
    deadline = time.monotonic() + 90
    while len(running := {file.stem: int(file.read_text()) for file in project.glob("*.running")}) < 3:
        assert time.monotonic() < deadline and process.poll() is None, running
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert {file.stem for file in project.glob("*.torn_down")} == {"test_all", "test_engine", "test_services"}, output
    assert not any(Path(f"/proc/{process_id}").exists() for process_id in running.values())
    assert "Tests: interrupted" in output and "test_measures" not in output


def test_no_test_of_the_parallel_workers_imports_the_engine(request: pytest.FixtureRequest) -> None:
    names_a_test = any("::" in argument for argument in request.config.args)
    if request.config.getoption("part") != "beside" or names_a_test:
        pytest.skip("files of the other parts are collected too")
    assert not request.config.stash[workers.HAS_ENGINE], "add the module on the way to it to tests.workers.ENGINE"
