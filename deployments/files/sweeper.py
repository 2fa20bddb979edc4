"""Deletes files that have expired, and what is left of uploads that broke off."""

import asyncio
import logging
import random

from deployments.errors import HistoryUnavailable
from deployments.files.store import FileStore
from deployments.infra.traces import trace

log = logging.getLogger(__name__)

PAUSE_S = 60.0
CHANCE = random.SystemRandom()
"""So that replicas take turns; the shared generator belongs to whoever seeds it."""
UNFINISHED_S = 7200.0
"""No upload and no writing of a batch's results takes so long."""


class FileSweeper:
    """Sweeps the store about once a minute, until closed."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start, in the running event loop."""
        self._task = asyncio.create_task(self._sweep_forever(), name="file-sweeper")

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_S * CHANCE.uniform(0.5, 1.5))
            try:
                await self._store.sweep(UNFINISHED_S)
            except HistoryUnavailable:
                continue
            except Exception as error:  # noqa: BLE001 - the sweeper's boundary
                log.error("files were not swept: %s", trace(error))
