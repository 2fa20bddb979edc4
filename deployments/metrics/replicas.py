"""How many replicas each model has, noted every few seconds beside the requests of the same time."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from deployments.metrics.recorder import Recorder

log = logging.getLogger(__name__)

SAMPLE_S = 2.5
"""Twice in each bucket."""


@asynccontextmanager
async def sampled(recorder: Recorder, replicas: Callable[[], Mapping[str, int]]) -> AsyncGenerator[None]:
    """Note what `replicas` tells, which must not block, until the block is left."""
    task = asyncio.create_task(_sample(recorder, replicas), name="replicas-sample")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _sample(recorder: Recorder, replicas: Callable[[], Mapping[str, int]]) -> None:
    while True:
        try:
            recorder.note_replicas(replicas())
        except Exception:
            log.exception("the models' replicas cannot be counted")
        await asyncio.sleep(SAMPLE_S)
