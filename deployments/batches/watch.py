"""The figures of all batches for the metrics: one ingress replica at a time sums them up, for all of them."""

import asyncio
import logging
from typing import Protocol

from deployments.batches.store import BatchStore
from deployments.batches.types import BatchFigures
from deployments.errors import HistoryUnavailable
from deployments.infra.traces import trace

log = logging.getLogger(__name__)

WATCH_S = 5.0
TURN_S = 3 * WATCH_S
"""After so long without the figures of a replica that was lost, another one has the turn."""
NOTHING = BatchFigures({}, 0, 0, 0.0)


class BatchLevels(Protocol):
    """Who is told: metrics."""

    def batches_open(self, figures: BatchFigures) -> None:
        """Note the figures of all batches."""
        ...


async def watch_forever(store: BatchStore, runner: str, levels: BatchLevels) -> None:
    """Tell the figures while it is this replica's turn. One that has lost it tells zeros, so that the largest holds."""
    try:
        while True:
            try:
                levels.batches_open(await store.figures(runner, TURN_S) or NOTHING)
            except HistoryUnavailable:
                levels.batches_open(NOTHING)
            except Exception as error:  # noqa: BLE001 - the boundary of a loop that must go on
                log.error("the figures of batches: %s", trace(error))
            await asyncio.sleep(WATCH_S)
    finally:
        levels.batches_open(NOTHING)  # a replica that stops may have streams to end yet
