"""Tests of real processes and browsers that fail get a second attempt, if `--second-attempt` says so.

On a busy machine such a test can fail by timing alone. The second attempt starts anew: every fixture of the test,
its module and its package is torn down first, and a session's fixture that failed is set up again. A test that
passes only then is listed at the end with its first failure. Unit tests get no second attempt, but for those of the
API, which talk to a server over a socket.
"""

from collections.abc import Generator
from typing import Any

import pytest
from _pytest.runner import runtestprotocol  # what pytest itself runs; there is no public way to run an item again

FOLDERS = {"integration", "serve", "ui", "e2e", "cluster", "api"}
FIRST_FAILURE = pytest.StashKey[str]()


def add_option(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.addoption(
        "--second-attempt",
        action="store_true",
        help="run failed tests of processes and browsers once more, and list those that passed only then",
    )


class SecondAttempt:
    """The plugin that runs failed tests once more."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not FOLDERS & set(item.path.relative_to(item.config.rootpath).parts[:-1]) or FIRST_FAILURE in item.stash:
            return None
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failures = [report.longreprtext for report in reports if report.failed]
        if failures:
            failures += _torn_down(item)
            item.stash[FIRST_FAILURE] = "\n".join(failures)
            item.config.hook.pytest_timeout_cancel_timer(item=item)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            return True
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        first = item.stash.get(FIRST_FAILURE, None)
        if first is None:
            return report
        if report.skipped:  # what failed must not end as skipped
            report.outcome, report.longrepr = "failed", first
        elif report.failed:
            report.sections.append(("First attempt", first))
        report.__dict__["first_failure"] = first  # crosses from a worker's process, as all that a report holds
        return report


def _torn_down(item: Any) -> list[str]:
    """Tear down all but the session's fixtures, forget those of the session that failed; return what went wrong."""
    wrong: list[str] = []
    try:
        item.session._setupstate.teardown_exact(item.session)  # nor is there a public way to do this
        item._initrequest()
        for fixtures in item._fixtureinfo.name2fixturedefs.values():
            for fixture in fixtures:
                if fixture.cached_result and fixture.cached_result[2]:
                    fixture.finish(item._request)
    except Exception as failure:  # noqa: BLE001 - whatever a fixture raises belongs to the first attempt's failure
        wrong.append(f"{type(failure).__name__}: {failure}")
    return wrong


class FlakyTests:
    """The plugin that shows, where the results are printed, which tests passed only at the second attempt."""

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.when == "call" and report.passed and hasattr(report, "first_failure"):
            return "flaky", "R", "FLAKY"
        return None

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        flaky = terminalreporter.stats.get("flaky", [])
        if flaky:
            terminalreporter.section("Flaky: passed on the second attempt")
        for report in flaky:
            terminalreporter.write_line(f"FLAKY {report.nodeid}")
            terminalreporter.write_line(report.first_failure)
