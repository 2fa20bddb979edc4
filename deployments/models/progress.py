"""Telling how far a whole answer has got while it is awaited."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from deployments.models.protocol import Progress

PROGRESS_S = 0.25
"""Seconds between two reports: what an answer costs is known that exactly when its client leaves."""


async def with_progress(answer: Awaitable[Any], so_far: Callable[[], Progress | None]) -> AsyncGenerator[Any]:
    """Yield the progress that `so_far` returns until `answer` has returned, and then what it returned.

    Raises what `answer` raises; closing the generator cancels it.
    """
    task = asyncio.ensure_future(answer)
    try:
        while not (await asyncio.wait((task,), timeout=PROGRESS_S))[0]:
            if progress := so_far():
                yield progress
        yield task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
