"""Calls of the limits' remote store: not tried while it fails, and each failure counted."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployments.infra.breaker import BREAKER_OPEN, Breaker, BreakerOpen
from deployments.infra.redis.errors import StoreError

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Attempts:
    """Calls one store, for one event loop; `failures` counts why it was not called or did not answer."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self._breaker = Breaker()
        self._is_away = False

    async def attempt(self, call: Callable[[], Awaitable[Result]]) -> Result | None:
        """Return what `call` returns; None if it raises StoreError, or is not tried because the last ones did."""
        try:
            with self._breaker.attempt():
                result = await call()
        except BreakerOpen:
            self.failures[BREAKER_OPEN] += 1
            return None
        except StoreError as error:
            self._failed(error)
            return None
        if self._is_away:
            self._is_away = False
            log.info("limits are shared with all replicas again")
        return result

    def _failed(self, error: StoreError) -> None:
        self.failures[error.kind] += 1
        if not self._is_away:
            self._is_away = True
            log.warning("limits are enforced by this replica alone", extra={"kind": error.kind})
