"""Writes usage behind the answers: merged in memory, in batches, each exactly once."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from deployments.config import UsageSettings
from deployments.errors import Unavailable
from deployments.history.types import new_id
from deployments.usage.store import UsageStore
from deployments.usage.types import Place, Used

log = logging.getLogger(__name__)

MAX_ROWS = 1_000
FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0


@dataclass(frozen=True, slots=True)
class _Batch:
    id: str
    sums: dict[Place, Used]


class UsageWriter:
    """Keeps sums in memory until the store has them; for one event loop.

    A batch whose outcome is unknown is repeated as it was, and its id makes that
    harmless. What is in memory when the process is killed is lost.
    """

    def __init__(self, store: UsageStore, settings: UsageSettings) -> None:
        self._store = store
        self._settings = settings
        self._pending: dict[Place, Used] = {}
        self._batch: _Batch | None = None
        self._dropped = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """Sums that wait for the store."""
        return len(self._pending) + (len(self._batch.sums) if self._batch else 0)

    @property
    def dropped(self) -> int:
        """Requests that were not counted: too many sums waited, or the store can never take them."""
        return self._dropped

    async def open(self) -> None:
        """Start writing, in the running event loop."""
        self._task = asyncio.create_task(self._work(), name="usage-writer")

    def note(self, key_id: str, model: str, used: Used) -> None:
        """Count `used` today (UTC). Never raises, never waits."""
        place = Place(key_id, datetime.now(UTC).date(), model)
        before = self._pending.get(place)
        if before is None and len(self._pending) >= self._settings.max_pending:
            if not self._dropped:
                log.error("usage is lost: too many sums are waiting for the store")
            self._dropped += used.requests
            return
        self._pending[place] = used if before is None else before + used

    async def drain(self, timeout_s: float) -> int:
        """Write all that waits, and return how many sums were left after `timeout_s`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        try:
            async with asyncio.timeout(timeout_s):
                await self._write_all()
        except TimeoutError:
            log.error("usage is lost: the store did not come back in time", extra={"sums": self.pending})
        return self.pending

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(self._settings.flush_s)
            await self._write_all()

    async def _write_all(self) -> None:
        """Return once nothing waits; tries again for as long as the store is away."""
        delay_s = FIRST_DELAY_S
        while self._batch or self._pending:
            if await self._write(self._batch or self._taken()):
                delay_s = FIRST_DELAY_S
            else:
                await asyncio.sleep(delay_s)
                delay_s = min(MAX_DELAY_S, delay_s * 2)

    def _taken(self) -> _Batch:
        """Move what fits into one batch out of what waits."""
        places = list(islice(self._pending, MAX_ROWS))
        self._batch = _Batch(new_id("batch"), {place: self._pending.pop(place) for place in places})
        return self._batch

    async def _write(self, batch: _Batch) -> bool:
        """Return whether the batch is done with; it stays what is written next while its outcome is unknown."""
        try:
            await self._store.add(batch.id, batch.sums)
        except Unavailable:
            return False
        except Exception as error:  # noqa: BLE001 - the writer's boundary: one bad batch must not end it
            log.error("usage is lost: the store rejects it", extra={"reason": type(error).__name__})
            self._dropped += sum(used.requests for used in batch.sums.values())
        self._batch = None
        return True
