"""Which models failed to load, as Serve's controller knows it."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread

from ray import serve

from deployments.handles import CALL_ERRORS

logger = logging.getLogger(__name__)

CACHE_S = 2.0
TIMEOUT_S = 2.0
FAILED = frozenset({"DEPLOY_FAILED"})


class FailedDeployments:
    """The names of deployments that Serve has given up on; asked at most every 2 s, and only while one is missing.

    Serve's call has no time limit, and a hung controller never answers it. So it is
    made in a thread of its own, one at a time: no executor fills up, and the
    process can end.
    """

    def __init__(self, application: str) -> None:
        self._application = application
        self._names: frozenset[str] = frozenset()
        self._asked_at = float("-inf")
        self._answer: Future[frozenset[str]] | None = None

    async def names(self) -> frozenset[str]:
        """Return the names; what was known before where the controller does not answer in 2 s."""
        if time.monotonic() - self._asked_at > CACHE_S:
            self._asked_at = time.monotonic()
            if self._answer is None:
                self._answer = _in_own_thread(self._ask)
            await asyncio.wait([asyncio.wrap_future(self._answer)], timeout=TIMEOUT_S)
            self._take(self._answer)
        return self._names

    def _take(self, answer: Future[frozenset[str]]) -> None:
        """Note what the controller said; what it has not said yet is waited for the next time."""
        if not answer.done():
            logger.warning("Serve's controller did not tell its state in time")
            return
        self._answer = None
        try:
            self._names = answer.result()
        except CALL_ERRORS as error:
            logger.warning("Serve's controller did not tell its state: %s", type(error).__name__)

    def _ask(self) -> frozenset[str]:
        found = serve.status().applications.get(self._application)
        deployments = found.deployments if found else {}
        return frozenset(name for name, state in deployments.items() if str(state.status.value) in FAILED)


def _in_own_thread(ask: Callable[[], frozenset[str]]) -> Future[frozenset[str]]:
    """Return what `ask` will return; its thread does not hold up the end of the process."""
    answer: Future[frozenset[str]] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - the border of the thread: whoever waits gets it
            answer.set_exception(error)

    Thread(target=run, name="serve-status", daemon=True).start()
    return answer
