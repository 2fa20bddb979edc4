"""Tells at the end of a run what each folder took, and which test files took the most processor time.

Processor time is that of the tests and of the processes they started and ended. On a busy machine a test's duration
says little, while its processor time says what it costs everybody.
"""

import itertools
import resource
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest

LISTED = 15
USED_BEFORE = pytest.StashKey[float]()


def used_s() -> float:
    """Return the processor time of this process and of those it started and has waited for, in seconds."""
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Note what was used before a test."""
    item.stash[USED_BEFORE] = used_s()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note in each report what its phase used."""
    report = yield
    used = used_s()
    report.__dict__["processor_s"] = used - item.stash[USED_BEFORE]  # crosses from a worker's process
    item.stash[USED_BEFORE] = used
    return report


@dataclass
class Sum:
    """What the tests of a folder or file took together, with their fixtures."""

    tests: int = 0
    seconds: float = 0.0
    processor_s: float = 0.0

    def add(self, report: Any) -> None:
        self.tests += report.when == "setup"
        self.seconds += report.duration
        self.processor_s += report.processor_s


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell what each folder took, and list the files that used most."""
    folders, files = defaultdict[str, Sum](Sum), defaultdict[str, Sum](Sum)
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if hasattr(report, "processor_s"):
            file = report.nodeid.partition("::")[0]
            files[file].add(report)
            folders["/".join(file.split("/")[:2])].add(report)
    if not files:
        return
    terminalreporter.section("what each folder took, one test after the other")
    for folder, took in sorted(folders.items()):
        terminalreporter.write_line(
            f"{folder:<18} {took.tests:>5} tests {took.seconds:>7.0f} s {took.processor_s:>7.0f} s of processor time"
        )
    total = sum(took.processor_s for took in files.values())
    terminalreporter.section(f"processor time: {total:.0f} s, most of it in")
    for file, took in sorted(files.items(), key=lambda item: -item[1].processor_s)[:LISTED]:
        terminalreporter.write_line(f"{took.processor_s:.2f}s {file}")
