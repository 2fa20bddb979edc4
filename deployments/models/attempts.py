"""One replica's work on an answer: it is asked by a call of its handle, and the answer comes to the listener.

Translates however a call ends, and keeps the deadlines.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from ray.serve.handle import DeploymentHandle

from deployments.config import Timeouts
from deployments.errors import ChatLLMError, Timeout, Unavailable
from deployments.infra.ray.handles import carrying
from deployments.models.call_errors import LOST, RETRY_AFTER_S, is_loss, translated
from deployments.models.calls import Calls, begun
from deployments.models.deadlines import Deadlines
from deployments.models.delivery.listener import HANDED_OVER, Listener, Stream
from deployments.models.failover import Failover, ReplicaLost
from deployments.models.protocol import Failed, Put

ARRIVAL_TIMEOUT_S = 5.0
"""How long the end of an answer may take to arrive once its call has been replied to."""


class Attempts:
    """Asks replicas for answers, which arrive at `listener`."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._calls = Calls()

    async def aclose(self) -> None:
        """Cancel the calls that have not been replied to."""
        await self._calls.aclose()

    async def make(
        self, replicas: DeploymentHandle[Any], answer: Failover, timeouts: Timeouts, total_at: float
    ) -> None:
        """Have one of `replicas` work on an answer until `total_at` (monotonic seconds); raises ReplicaLost.

        Raises what the call failed with, translated. An answer that misses a deadline ends with a Timeout, and this is
        cancelled. However it ends before the answer does, the replica aborts its work.
        """
        await self._calls.room()
        request = answer.request
        stream = answer.stream = self._listener.stream(answer.put)
        expire = partial(_expire, answer.put, asyncio.current_task())
        deadlines = Deadlines(stream, timeouts, expire, total_at)
        response = carrying(replicas, request.size_bytes).deliver.remote(request, stream.destination)
        call = begun(cast(Awaitable[None], response))
        try:
            await _ended(stream, call)
        except (ChatLLMError, ReplicaLost):
            raise
        except Exception as error:  # noqa: BLE001 - error translation for Ray: however a call ends, its answer ends too
            if is_loss(error):
                raise ReplicaLost(translated(error).message) from None
            raise translated(error) from None
        finally:
            deadlines.stop()
            stream.close()
            answer.stream = None  # each holds the other: else both, and the request, wait for the garbage collector
            if not stream.has_ended:
                with suppress(Exception):
                    response.cancel()
            self._calls.settle(call)


async def _ended(stream: Stream, call: "asyncio.Task[None]") -> None:
    """Return when the whole answer is here; raises what the call failed with, and ReplicaLost for a lost connection."""
    await stream.ended_or(call)
    if stream.is_lost:
        raise _loss(stream)
    if stream.has_ended:
        return
    await call
    if not await stream.ended(ARRIVAL_TIMEOUT_S):
        if stream.is_lost:
            raise _loss(stream)
        raise Unavailable("The end of the model's answer was lost; please try again.", None, 1.0)


def _loss(stream: Stream) -> ReplicaLost:
    return ReplicaLost(HANDED_OVER if stream.is_handed_over else LOST, stream.is_handed_over)


def _expire(put: Put, task: "asyncio.Task[None] | None") -> None:
    put(Failed(Timeout("The model did not answer in time.", None, RETRY_AFTER_S)))
    if task is not None:
        task.cancel()
