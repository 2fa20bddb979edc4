"""Deletes what has expired, about once a minute."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from deployments.errors import HistoryUnavailable
from deployments.infra.traces import trace

log = logging.getLogger(__name__)

PAUSE_S = 60.0
CHANCE = random.SystemRandom()
"""So that replicas take turns; the shared generator belongs to whoever seeds it."""


class Sweeper:
    """Sweeps one thing, from `open` until `aclose`; a store that is away is swept the next time."""

    def __init__(self, what: str, sweep: Callable[[], Awaitable[None]]) -> None:
        self._what = what
        self._sweep = sweep
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start, in the running event loop."""
        self._task = asyncio.create_task(self._sweep_forever(), name=f"sweeper of {self._what}")

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_S * CHANCE.uniform(0.5, 1.5))
            try:
                await self._sweep()
            except HistoryUnavailable:
                continue
            except Exception as error:  # noqa: BLE001 - the sweeper's boundary
                log.error("%s were not swept: %s", self._what, trace(error))
