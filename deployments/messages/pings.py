"""A stream that is never silent for long: Anthropic's API sends pings, so that nothing in between gives it up."""

import asyncio
from collections.abc import AsyncGenerator

from deployments.messages.events import frame

PING = frame({"type": "ping"})
PING_AFTER_S = 15.0


async def with_pings(frames: AsyncGenerator[bytes], after_s: float = PING_AFTER_S) -> AsyncGenerator[bytes]:
    """Yield `frames`, and from the second on a ping for every `after_s` seconds in which there is none.

    Closing it, or cancelling it, closes `frames`.
    """
    coming: asyncio.Task[bytes | None] | None = None
    try:
        if first := await anext(frames, None):
            yield first
        while True:
            coming = asyncio.create_task(_next(frames))
            while not (await asyncio.wait({coming}, timeout=after_s))[0]:
                yield PING
            data = coming.result()
            if data is None:
                return
            yield data
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
        await frames.aclose()


async def _next(frames: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(frames, None)
