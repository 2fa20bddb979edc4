"""Says at the end of a run which tests did not run because the machine lacks a program."""

from collections import Counter
from typing import Any

NEEDS = "Skipped: needs "


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print one line for each program that is missing."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    for program, count in Counter(reason.removeprefix(NEEDS) for reason in reasons if reason.startswith(NEEDS)).items():
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.write_line(f"There is no {program} here: {tests} did not run.")
