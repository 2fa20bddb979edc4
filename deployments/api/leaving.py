"""How an ingress replica ends its work: when Serve replaces it, and when the whole service stops.

Serve stops it    retire ── what its clients read goes on ── interrupt ── Serve closes the application
all is stopped    close ── what its clients read goes on ── leave
"""

import asyncio
import logging
import time
from contextlib import suppress

from deployments.api.http.connection import Connection
from deployments.api.http.intake import Intake
from deployments.api.services import Services
from deployments.errors import Unavailable
from deployments.infra.detached import detached
from deployments.infra.ray import key_value
from deployments.infra.ray.key_value import STOPS_AT

CLOSING_S = 30.0
"""How long before Serve kills a replica it ends what clients still read: what was said is then written."""
ENDED_S = 2.0
WRITTEN_S = 5.0
LOOK_S = 1.0
REPLACED = "The server that sends this answer is being replaced. Ask again; a resumable stream can be resumed."

logger = logging.getLogger(__name__)


def retire(services: Services | None, intake: Intake, timeout_s: float) -> None:
    """Take up no more work of others; what clients read ends with an error before Serve kills it in `timeout_s`."""
    logger.info("the replica stops: it finishes what it can", extra={"timeout_s": timeout_s})
    left_s = timeout_s - min(CLOSING_S, timeout_s / 2)
    if services is not None:
        services.background.retire(left_s)
        services.streams.retire(left_s)
        services.coalescer.retire(left_s)
        services.batches.retire()
    asyncio.get_running_loop().call_later(left_s, interrupt)
    intake.ending = detached(_leave_with_all(services, intake), "leave-with-all")


async def _leave_with_all(services: Services | None, intake: Intake) -> None:
    """Leave when the whole service stops: this replica is told so by no call any more."""
    while True:
        if (stops_at := await asyncio.to_thread(_stops_at)) is not None:
            break
        await asyncio.sleep(LOOK_S)
    await asyncio.sleep(max(0.0, stops_at - time.time()))
    await leave(services, intake)


def _stops_at() -> float | None:
    found = None
    with suppress(Exception):  # Ray's head may be away
        found = key_value.get(STOPS_AT)
    return float(found) if found else None


def interrupt() -> None:
    """End what clients still read or wait for with an error that says what to do."""
    for connection in list(Connection.opened):
        connection.interrupt(Unavailable(REPLACED, None, 1.0))


async def close(services: Services | None, intake: Intake) -> int:
    """Refuse new requests, since the whole service stops, and return how many are still under way."""
    if not intake.is_closed and services is not None:
        intake.is_closed = True
        services.background.retire(0)
        await services.batches.aclose(0)
    return intake.running


async def leave(services: Services | None, intake: Intake) -> None:
    """End what clients still wait for, and write turns and usage; nothing runs here afterwards.

    Background responses, batches and resumable streams go on at another replica, or after the next start.
    """
    intake.is_closed = True
    interrupt()
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDED_S):
            await intake.idle()
    if services is not None:
        await services.batches.aclose(0)
        services.background.retire(0)  # one that Serve stops was to go on for its whole time
        await services.background.aclose(0)
        await services.streams.leave()
        await services.writer.drain(WRITTEN_S)
        await services.usage_writer.drain(WRITTEN_S)
