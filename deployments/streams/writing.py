"""Writing the logs of the streams that run on this replica, all of them together several times a second."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from deployments.config import StreamSettings
from deployments.infra.detached import detached
from deployments.infra.redis.errors import StoreError
from deployments.infra.traces import trace
from deployments.streams.running import RunningStream
from deployments.streams.store import Appended, Batch, NewLog, StreamName, StreamStore

logger = logging.getLogger(__name__)

WRITE_S = 0.5
SIGN_OF_LIFE_S = 1.0
OUTAGE_S = 60.0
"""How long the end of a stream waits for a log that cannot be reached."""


class LogWriter:
    """Writes while anything runs; what a log hears of its stream's fate is done to the stream here."""

    def __init__(
        self,
        store: StreamStore,
        address: bytes,
        settings: Callable[[], StreamSettings],
        running: Mapping[StreamName, RunningStream],
        forget: Callable[[StreamName], object],
    ) -> None:
        """`address` is this replica's name as an owner; `forget` takes a stream out of `running`."""
        self._store = store
        self._address = address
        self._settings = settings
        self._running = running
        self._forget = forget
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def begin(self, running: RunningStream) -> None:
        """Write the log of a stream from now on, and its end at once."""
        running.generation.when_ended(self._news.set)
        if self._task is None or self._task.done():
            self._task = detached(self._write_while_running(), "stream-logs")

    async def aclose(self) -> None:
        """Write once more, then stop."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._write()

    async def _write_while_running(self) -> None:
        while self._running:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_S):
                    await self._news.wait()
            try:
                await self._write()
            except Exception as error:  # noqa: BLE001 - the flusher's boundary: the streams go on without it
                logger.error("streams were not logged: %s", trace(error))
                await asyncio.sleep(WRITE_S)

    async def _write(self) -> None:
        """Write what the logs lack, and a sign of life of those that lack nothing for a while."""
        now = asyncio.get_running_loop().time()
        due = [(one, batch) for one in self._running.values() if (batch := self._batch(one, now))]
        if not due:
            return
        try:
            heard = await self._store.append([batch for _, batch in due])
        except StoreError:
            self._give_up(now)
            await asyncio.sleep(WRITE_S)
            return
        for (running, batch), state in zip(due, heard, strict=True):
            running.seen_at = now
            with suppress(StoreError):
                await self._heard(running, batch, state)

    def _batch(self, running: RunningStream, now: float) -> Batch | None:
        settings = self._settings()
        if batch := running.batch(self._address, settings.ttl_s, settings.max_log_bytes):
            return batch
        if now - running.seen_at < SIGN_OF_LIFE_S:
            return None
        return Batch(running.name, running.key_id, self._address, b"", 0, settings.ttl_s)

    async def _heard(self, running: RunningStream, batch: Batch, state: Appended) -> None:
        if state == "running":
            running.written(batch)
            if batch.is_last:
                self._forget(running.name)
            if running.is_too_large:
                await self._store.cancel(running.name)
        elif state == "missing":
            await self._open_again(running)
        else:
            self._forget(running.name)
            if state == "cancelled":
                running.generation.stop()
            else:
                running.leave()

    async def _open_again(self, running: RunningStream) -> None:
        """Write a log anew that its store has lost."""
        settings = self._settings()
        ttl_s, most = settings.ttl_s, settings.max_logs_per_key
        log = NewLog(running.name, running.key_id, self._address, running.request, ttl_s, most)
        if await self._store.open(log):
            running.rewrite()
        elif running.generation.end is not None:
            self._forget(running.name)

    def _give_up(self, now: float) -> None:
        """Forget what has ended long ago without that its log could be reached."""
        for running in list(self._running.values()):
            if running.generation.end is not None and now - running.seen_at > OUTAGE_S:
                self._forget(running.name)
