"""What happens when a test takes longer than its time limit.

pytest-timeout can end the test by an exception, which one that hangs in foreign code never sees, or the whole
process, which leaves the test's servers behind and takes all other tests with it. Here the exception comes first, so
that fixtures are torn down; the process ends only when that does not help.
"""

import functools
import os
import signal
import threading
from typing import Any

import pytest
import pytest_timeout

from tests import budgets

TEARDOWN_S = 120.0
"""What the fixtures of a test that failed by its limit have to end."""
BUSY = 2.0
"""Workers share the processors: what is a hang on an idle machine may be a wait for its turn on a busy one."""


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: Any, settings: Any) -> bool | None:
    """Let the test fail at its limit, and end the process if it does not end."""
    if threading.current_thread() is not threading.main_thread():
        return None
    limit_s = settings.timeout * budgets.FACTOR * (BUSY if "PYTEST_XDIST_WORKER" in os.environ else 1)
    settings = settings._replace(timeout=limit_s)
    last = threading.Timer(limit_s + TEARDOWN_S, pytest_timeout.timeout_timer, (item, settings))
    last.daemon = True
    last.start()
    signal.signal(signal.SIGALRM, lambda _number, _frame: pytest_timeout.timeout_sigalrm(item, settings))
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    item.cancel_timeout = functools.partial(_cancel, last)
    return True


def _cancel(last: threading.Timer) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    last.cancel()
    last.join()
