"""Lists at the end of a run which test files took the most processor time, in the tests and the processes they started.

On a busy machine a test's duration says little, while its processor time says what it costs everybody.
"""

import resource
from collections import defaultdict
from collections.abc import Generator
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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the files that used most."""
    by_file: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if seconds := getattr(report, "processor_s", 0.0):
                by_file[report.nodeid.partition("::")[0]] += seconds
    if by_file:
        terminalreporter.section(f"processor time: {sum(by_file.values()):.0f} s, most of it in")
    for file, seconds in sorted(by_file.items(), key=lambda item: -item[1])[:LISTED]:
        terminalreporter.write_line(f"{seconds:.2f}s {file}")
