"""Runs the tests in two parts: those that others may run beside, in parallel if asked for, and those that run alone.

    python -m tests.run [what pytest takes]

WORKERS is the number of parallel workers. The exit status is 0 if both parts passed; a part that the
arguments leave without tests counts as passed, unless both are.
"""

import os
import subprocess
import sys

import pytest

PYTEST = [sys.executable, "-m", "pytest"]


def main(arguments: list[str]) -> int:
    """Run both parts and return the exit status."""
    workers = os.environ.get("WORKERS", "0")
    parts = {
        "that others may run beside": ["-n", workers, "--part", "beside"],
        "that run alone": ["--part", "alone"],
    }
    statuses = {name: run([*part, *arguments]) for name, part in parts.items()}
    for name, status in statuses.items():
        sys.stdout.write(f"Tests {name}: {status.name.lower().replace('_', ' ')}\n")
    return exit_status(list(statuses.values()))


def run(arguments: list[str]) -> pytest.ExitCode:
    """Run pytest and return its exit status."""
    status = subprocess.run([*PYTEST, *arguments], check=False).returncode
    return pytest.ExitCode(status) if status in list(pytest.ExitCode) else pytest.ExitCode.INTERNAL_ERROR


def exit_status(statuses: list[pytest.ExitCode]) -> pytest.ExitCode:
    """Return the status of the whole: that of the first part that failed; without any test, that there was none."""
    with_tests = [status for status in statuses if status != pytest.ExitCode.NO_TESTS_COLLECTED]
    failed = [status for status in with_tests if status != pytest.ExitCode.OK]
    return (failed or with_tests or statuses)[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
