"""The events of a background response, as any replica can stream them."""

import asyncio
from collections.abc import AsyncGenerator

from deployments.errors import HistoryUnavailable
from deployments.responses.live import LiveEvents
from deployments.responses.store import ResponseStore
from deployments.responses.types import Batch, StoredResponse

POLL_S = 0.1
BATCHES_AT_ONCE = 100
OUTAGE_S = 30.0
EVENT_END = b"\n\n"


async def follow(
    store: ResponseStore, tenant: str, response_id: str, after: int, live: LiveEvents | None = None
) -> AsyncGenerator[bytes]:
    """Yield the events past the sequence number `after` until the last one; at once where it runs here (`live`).

    Raises NotFound if the response is deleted meanwhile, and HistoryUnavailable
    if the store stays away for 30 s. Ending this ends nothing else.
    """
    loop = asyncio.get_running_loop()
    reached_at = loop.time()
    while True:
        if live is not None and (frames := live.past(after)) is not None:
            if frames:
                after = live.next_number - 1
                yield frames
            elif live.is_over:
                return
            else:
                await live.more_than(after)
            continue
        try:
            found = await store.events(tenant, response_id, after, BATCHES_AT_ONCE)
            reached_at = loop.time()
        except HistoryUnavailable:
            if loop.time() - reached_at > OUTAGE_S:
                raise
            await asyncio.sleep(POLL_S)
            continue
        for batch in found.batches:
            yield events_past(batch.frames, batch.last_number, after)
            after = batch.last_number
        if found.is_over:
            return
        if not found.batches:
            await asyncio.sleep(POLL_S)


async def written(store: ResponseStore, response: StoredResponse) -> AsyncGenerator[Batch]:
    """Yield the batches that are in the store now."""
    after = -1
    while batches := (await store.events(response.tenant, response.id, after, BATCHES_AT_ONCE)).batches:
        for batch in batches:
            yield batch
        after = batches[-1].last_number


def events_past(frames: bytes, last_number: int, after: int) -> bytes:
    """Return the events of a batch past the number `after`; within a batch numbers have no gap."""
    events = frames.removesuffix(EVENT_END).split(EVENT_END)
    wanted = events[max(0, len(events) - (last_number - after)) :]
    return EVENT_END.join(wanted) + EVENT_END
