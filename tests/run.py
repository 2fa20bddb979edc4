"""Runs the tests in three parts: what others may run beside, what imports the engine, and what runs alone.

    python -m tests.run [what pytest takes]

The first part runs in parallel workers, the second beside it in one process, so that vLLM is imported once. WORKERS
is the number of workers: one more than there are processors if it is not given, for tests wait a good part of their
time, and three at most, since each may have an engine and a cluster in memory. With WORKERS=0 nothing is parallel.
The exit status is 0 if all parts passed; a part that the arguments leave without tests counts as passed, unless all
are.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO

import pytest

PYTEST = [sys.executable, "-m", "pytest"]
MOST_WORKERS = 3
TEARDOWN_S = 60.0
"""How long an interrupted part may take to stop the servers of its tests."""


def main(arguments: list[str]) -> int:
    """Run all parts and return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        statuses = {
            **parallel_parts(number_of_workers(), arguments),
            "that run alone": one_part(["--part", "alone", *arguments]),
        }
    except KeyboardInterrupt:
        sys.stdout.write("Tests: interrupted\n")
        return pytest.ExitCode.INTERRUPTED
    for name, status in statuses.items():
        sys.stdout.write(f"Tests {name}: {status.name.lower().replace('_', ' ')}\n")
    return exit_status(list(statuses.values()))


def parallel_parts(workers: int, arguments: list[str]) -> dict[str, pytest.ExitCode]:
    """Run the tests that others may run beside; meanwhile those with the engine, whose output follows at the end."""
    beside, engine = ["-n", str(workers), "--part", "beside", *arguments], ["--part", "engine", *arguments]
    names = "that others may run beside", "that import the engine"
    if not workers:
        return dict(zip(names, map(one_part, (beside, engine)), strict=True))
    with tempfile.TemporaryFile() as output:
        try:
            with started(engine, output) as with_engine, started(beside) as others:
                return dict(zip(names, map(ended, (others, with_engine)), strict=True))
        finally:
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()


def one_part(arguments: list[str]) -> pytest.ExitCode:
    """Run pytest and return its exit status."""
    with started(arguments) as process:
        return ended(process)


def number_of_workers() -> int:
    """Return how many tests run at the same time; 0 is one after the other in one process."""
    given = os.environ.get("WORKERS", "")
    return int(given) if given else min(MOST_WORKERS, len(os.sched_getaffinity(0)) + 1)


@contextmanager
def started(arguments: list[str], output: IO[bytes] | None = None) -> Generator[subprocess.Popen[bytes]]:
    """Start pytest, which ends before the block does.

    It and what it starts keep their byte code: to compile everything anew takes seconds each time.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    reads_terminal = output is None and sys.stdin.isatty()  # a debugger does, which another group may not
    group = None if reads_terminal else 0
    process = subprocess.Popen(
        [*PYTEST, *arguments], env=environment, stdout=output, stderr=output, process_group=group
    )
    try:
        yield process
    finally:
        interrupt(process)


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """End pytest and its workers, unless it has ended. A second Ctrl-C, or the end of its time, kills it."""
    if process.poll() is not None:
        return
    has_own_group = os.getpgid(process.pid) == process.pid
    if has_own_group:  # in the terminal's group Ctrl-C has reached it
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(TEARDOWN_S)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        if has_own_group:
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def ended(process: subprocess.Popen[bytes]) -> pytest.ExitCode:
    """Wait for pytest and return its exit status."""
    status = process.wait()
    return pytest.ExitCode(status) if status in list(pytest.ExitCode) else pytest.ExitCode.INTERNAL_ERROR


def exit_status(statuses: list[pytest.ExitCode]) -> pytest.ExitCode:
    """Return the status of the whole: that of the first part that failed; without any test, that there was none."""
    with_tests = [status for status in statuses if status != pytest.ExitCode.NO_TESTS_COLLECTED]
    failed = [status for status in with_tests if status != pytest.ExitCode.OK]
    return (failed or with_tests or statuses)[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
