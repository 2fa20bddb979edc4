"""Which models failed to load, as Serve's controller knows it."""

import asyncio
import logging
import time

from ray import serve

from deployments.handles import CALL_ERRORS

logger = logging.getLogger(__name__)

CACHE_S = 2.0
TIMEOUT_S = 2.0
FAILED = frozenset({"DEPLOY_FAILED"})


class FailedDeployments:
    """The names of deployments that Serve has given up on; asked at most every 2 s, and only while one is missing."""

    def __init__(self, application: str) -> None:
        self._application = application
        self._names: frozenset[str] = frozenset()
        self._asked_at = 0.0

    async def names(self) -> frozenset[str]:
        """Return the names; what was known before where the controller does not answer in 2 s."""
        if time.monotonic() - self._asked_at > CACHE_S:
            self._asked_at = time.monotonic()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    self._names = await asyncio.to_thread(self._ask)
            except (TimeoutError, *CALL_ERRORS) as error:
                logger.warning("Serve's controller did not tell its state: %s", type(error).__name__)
        return self._names

    def _ask(self) -> frozenset[str]:
        found = serve.status().applications.get(self._application)
        deployments = found.deployments if found else {}
        return frozenset(name for name, state in deployments.items() if str(state.status.value) in FAILED)
