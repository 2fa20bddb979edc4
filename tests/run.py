"""Runs the tests in four parts: three at the same time, then what runs alone.

    python -m tests.run [what pytest takes]

Tests that others may run beside wait a good part of their time, so that they have half as many workers again as the
tests that start whole services, each of which may have an engine and a cluster in memory. One process runs the unit
tests that import the engine, so that vLLM is imported once. What measures time or memory runs alone after these three.

WORKERS is the number of workers that start services: one more than there are processors if it is not given, and three
at most. With WORKERS=0 nothing is parallel. The exit status is 0 if all parts passed; a part that the arguments leave
without tests counts as passed, unless all are.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

import pytest

from tests import workers

PYTEST = [sys.executable, "-m", "pytest"]
MOST_WORKERS = 3
BESIDE = 1.5
"""How many workers run tests that others may run beside, for each that starts services."""
TEARDOWN_S = 120.0
"""How long interrupted parts may take to stop the servers of their tests: one that was just starting takes a minute."""
SHOWN_S = 0.2
"""How often new output is shown."""
NAMES = {
    "beside": "that others may run beside",
    "services": "that start services",
    "engine": "that import the engine",
    "alone": "that run alone",
}


def main(arguments: list[str]) -> int:
    """Run all parts and return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        statuses = run_parts(number_of_workers(), arguments)
    except KeyboardInterrupt:
        sys.stdout.write("Tests: interrupted\n")
        return pytest.ExitCode.INTERRUPTED
    for part, status in statuses.items():
        sys.stdout.write(f"Tests {NAMES[part]}: {status.name.lower().replace('_', ' ')}\n")
    return exit_status(list(statuses.values()))


def run_parts(count: int, arguments: list[str]) -> dict[str, pytest.ExitCode]:
    """Run each part that may have tests, all but `alone` at the same time if there are workers."""
    parallel = {"beside": ["-n", str(int(BESIDE * count))], "services": ["-n", str(count)]} if count else {}
    commands = {
        part: [*parallel.get(part, []), "--part", part, *arguments]
        for part in NAMES
        if workers.may_have_tests(part, arguments)
    }
    together = [part for part in commands if count and part != "alone"]
    statuses = dict.fromkeys(NAMES, pytest.ExitCode.NO_TESTS_COLLECTED)
    statuses |= zip(together, parts_at_once([commands[part] for part in together]), strict=True)
    for part in commands.keys() - set(together):
        statuses[part] = one_part(commands[part])
    return statuses


class Output:
    """What a part prints into a file, shown as it grows."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self._shown = 0

    def show(self) -> None:
        """Show what is new."""
        while new := os.pread(self.file.fileno(), 2**16, self._shown):  # moves no place at which the part writes
            self._shown += len(new)
            sys.stdout.buffer.write(new)
        sys.stdout.flush()


def parts_at_once(commands: Sequence[list[str]]) -> list[pytest.ExitCode]:
    """Run pytest several times at once and return the statuses. What one prints follows when that before has ended."""
    colours = ["--color=yes"] * sys.stdout.isatty()
    with ExitStack() as files:
        outputs = [Output(files.enter_context(tempfile.TemporaryFile())) for _ in commands]
        for output in reversed(outputs):
            files.callback(output.show)  # the rest, also of parts that were interrupted
        with started([[*colours, *command] for command in commands], [output.file for output in outputs]) as processes:
            for process, output in zip(processes, outputs, strict=True):
                while process.poll() is None:
                    output.show()
                    time.sleep(SHOWN_S)
                output.show()
            return [ended(process) for process in processes]


def one_part(arguments: list[str]) -> pytest.ExitCode:
    """Run pytest and return its exit status."""
    with started([arguments], [None]) as (process,):
        return ended(process)


def number_of_workers() -> int:
    """Return how many tests of services run at the same time; 0 is one after the other in one process."""
    given = os.environ.get("WORKERS", "")
    return int(given) if given else min(MOST_WORKERS, len(os.sched_getaffinity(0)) + 1)


@contextmanager
def started(
    commands: Sequence[list[str]], outputs: Sequence[IO[bytes] | None]
) -> Generator[list[subprocess.Popen[bytes]]]:
    """Start pytest once for each command; all have ended before the block does."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command, output in zip(commands, outputs, strict=True):
            processes.append(start(command, output))
        yield processes
    finally:
        interrupt(processes)


def start(arguments: list[str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Start pytest. It and what it starts keep their byte code: to compile everything anew takes seconds each time."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    reads_terminal = output is None and sys.stdin.isatty()  # a debugger does, which another group may not
    group = None if reads_terminal else 0
    return subprocess.Popen([*PYTEST, *arguments], env=environment, stdout=output, stderr=output, process_group=group)


def interrupt(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what has not ended, all at once. A second Ctrl-C, or the end of their time, kills it."""
    left = [process for process in processes if process.poll() is None]
    with_own_group = [process for process in left if os.getpgid(process.pid) == process.pid]
    for process in with_own_group:  # the terminal's group Ctrl-C has reached
        os.killpg(process.pid, signal.SIGINT)
    deadline = time.monotonic() + TEARDOWN_S
    for process in left:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            deadline = 0.0
            if process in with_own_group:
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
