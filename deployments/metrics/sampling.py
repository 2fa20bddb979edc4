"""How many replicas each model has and what waits for it, noted every second beside the requests of the same time."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from deployments.metrics.queues import Queues
from deployments.metrics.recorder import Recorder

log = logging.getLogger(__name__)

SAMPLE_S = 1.0


@asynccontextmanager
async def sampled(
    recorder: Recorder, replicas: Callable[[], Mapping[str, int]], queues: Callable[[], Queues]
) -> AsyncGenerator[None]:
    """Note what `replicas` and `queues` tell, which must not block, until the block is left."""
    task = asyncio.create_task(_sample(recorder, replicas, queues), name="metrics-sample")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _sample(recorder: Recorder, replicas: Callable[[], Mapping[str, int]], queues: Callable[[], Queues]) -> None:
    while True:
        try:
            recorder.note_replicas(replicas())
            recorder.note_queues(queues())
        except Exception:
            log.exception("the models' replicas cannot be counted")
        await asyncio.sleep(SAMPLE_S)
