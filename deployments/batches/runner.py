"""What this replica does for batches: it validates them, has their lines answered, and finishes them."""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from contextlib import aclosing
from typing import Protocol

from deployments.batches.finishing import finish
from deployments.batches.lines import Counted, Door, Lines
from deployments.batches.store import BatchStore
from deployments.batches.types import Batch, LineError
from deployments.batches.validation import KnowsModel, Validation
from deployments.batches.watch import BatchLevels, watch_forever
from deployments.config import BatchSettings
from deployments.errors import HistoryUnavailable, NotFound
from deployments.files.store import FileStore
from deployments.files.types import in_days
from deployments.files.writing import content_of
from deployments.infra.detached import detached
from deployments.infra.traces import trace

log = logging.getLogger(__name__)

LOOK_S = 1.0
BATCH_LEASE_S = 60.0
"""Of one that is validated or finished; renewed with each page."""
CHANCE = random.SystemRandom()
SWEEP_EVERY = 300


class BatchMetrics(Counted, BatchLevels, Protocol):
    """Who is told what becomes of lines and batches: metrics."""


class BatchRunner:
    """Works on the batches of all tenants, together with every other ingress replica."""

    def __init__(
        self,
        store: BatchStore,
        files: FileStore,
        settings: BatchSettings,
        file_ttl_days: float,
        limit: Callable[[], int],
        knows_model: KnowsModel,
        metrics: BatchMetrics,
    ) -> None:
        """`limit` tells how many lines may be answered here at once."""
        self._store = store
        self._files = files
        self._settings = settings
        self._file_ttl_days = file_ttl_days
        self._knows_model = knows_model
        self._runner = secrets.token_hex(16)
        self._lines = Lines(store, self._runner, settings.lease_s, limit, metrics)
        self._metrics = metrics
        self._loops: list[asyncio.Task[None]] = []
        self._created = asyncio.Event()

    async def open(self, door: Door) -> None:
        """Begin, in the running event loop; lines are answered through `door`."""
        self._lines.open(door)
        self._loops = [
            detached(self._look_forever(), "batches"),
            detached(watch_forever(self._store, self._runner, self._metrics), "batch-figures"),
        ]

    def retire(self) -> None:
        """Take nothing new: the replica stops. Lines under way go on until it closes."""
        for loop in self._loops:
            loop.cancel()
        self._lines.retire()

    async def aclose(self, timeout_s: float) -> None:
        """Let lines end for `timeout_s`; everything else is left to other replicas."""
        for loop in self._loops:
            loop.cancel()
        if self._loops:
            await asyncio.wait(self._loops)
        await self._lines.aclose(timeout_s)

    def wake(self) -> None:
        """Look for work at once: a batch has been created or cancelled here."""
        self._created.set()

    def stop(self, batch_id: str) -> None:
        """Stop the lines of a cancelled batch that run here."""
        self._lines.stop(batch_id)
        self.wake()

    async def _look_forever(self) -> None:
        looks = 0
        while True:
            looks += 1
            try:
                if looks % SWEEP_EVERY == 0:
                    await self._store.sweep(self._settings.keep_days * 86_400)
                while (batch := await self._store.take(self._runner, BATCH_LEASE_S)) is not None:
                    await self._work_on(batch)
            except HistoryUnavailable:
                await asyncio.sleep(LOOK_S)
            except Exception as error:  # noqa: BLE001 - the runner's boundary: what failed is tried again past its lease
                log.error("a batch: %s", trace(error))
                await asyncio.sleep(LOOK_S)
            self._created.clear()
            try:
                await asyncio.wait_for(self._created.wait(), LOOK_S * CHANCE.uniform(0.7, 1.3))
            except TimeoutError:
                continue

    async def _work_on(self, batch: Batch) -> None:
        if batch.status == "validating":
            await self._validate(batch)
            self._lines.wake()
        elif await finish(batch, self._store, self._files, lambda: in_days(self._file_ttl_days), BATCH_LEASE_S):
            log.info("a batch has ended", extra={"batch": batch.id, "ending": batch.ending})

    async def _validate(self, batch: Batch) -> None:
        settings = self._settings
        max_lines = settings.max_lines if batch.max_lines is None else batch.max_lines
        validation = Validation(batch.endpoint, max_lines, settings.max_line_bytes, self._knows_model)
        try:
            async with (
                aclosing(content_of(self._files, batch.tenant, batch.input_file_id)) as content,
                aclosing(validation.pages(content)) as pages,
            ):
                async for page in pages:
                    if not await self._store.add_lines(batch, page, BATCH_LEASE_S):
                        return
        except NotFound:
            gone = "The input file was deleted before it had been read."
            validation.errors.append(LineError("file_not_found", gone, None, "input_file_id"))
        if validation.errors:
            await self._store.fail(batch, validation.errors)
        else:
            await self._store.start(batch, validation.total, validation.model or None)
