"""Handle calls whose answers have arrived: the call's own reply comes after them, under load by seconds.

An answer comes by the connection between the replicas (delivery/) and is over when its last message is here. The
call that asked for it is then left to itself. How many such calls may be out is bounded: Ray Serve counts each as a
request that its replica still works on, and each holds memory here.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from ray.serve.exceptions import RequestCancelledError

MAX_UNSETTLED = 256
REPLY_TIMEOUT_S = 30.0
"""How long the reply of a call may take after its answer; then the call is cancelled."""
CROWDED_TIMEOUT_S = 1.0
"""The same while new requests wait for room: a replica that no longer replies holds those of all others no longer."""


class Calls:
    """The calls of one process to all replicas."""

    def __init__(
        self,
        max_unsettled: int = MAX_UNSETTLED,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        crowded_timeout_s: float = CROWDED_TIMEOUT_S,
    ) -> None:
        self._max_unsettled = max_unsettled
        self._reply_timeout_s = reply_timeout_s
        self._crowded_timeout_s = crowded_timeout_s
        self._answered_at: dict[asyncio.Task[None], float] = {}
        """When the answer of each unsettled call was complete (seconds of the event loop's clock), in this order."""
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def unsettled(self) -> int:
        """How many calls have no reply yet though their answers are here."""
        return len(self._answered_at)

    async def room(self) -> None:
        """Wait while too many calls are unsettled; those that have been so for too long are cancelled meanwhile."""
        while not self._has_room.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._cancel_older_than(self._crowded_timeout_s)):
                    await self._has_room.wait()

    def settle(self, call: asyncio.Task[None]) -> None:
        """Leave a call to itself whose answer is here; whatever it replies or fails with tells nobody anything."""
        if call.done():
            return _ignore(call)
        self._answered_at[call] = asyncio.get_running_loop().time()
        if len(self._answered_at) >= self._max_unsettled:
            self._has_room.clear()
        call.add_done_callback(self._replied)
        if self._sweep is None:
            self._schedule(self._reply_timeout_s)
        return None

    async def aclose(self) -> None:
        """Cancel the calls that are unsettled."""
        if self._sweep is not None:
            self._sweep.cancel()
        calls = list(self._answered_at)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _replied(self, call: asyncio.Task[None]) -> None:
        self._forget(call)
        _ignore(call)

    def _forget(self, call: asyncio.Task[None]) -> None:
        self._answered_at.pop(call, None)
        if len(self._answered_at) < self._max_unsettled:
            self._has_room.set()

    def _schedule(self, delay_s: float) -> None:
        self._sweep = asyncio.get_running_loop().call_later(delay_s, self._cancel_late)

    def _cancel_late(self) -> None:
        self._sweep = None
        next_s = self._cancel_older_than(self._reply_timeout_s)
        if self._answered_at:
            self._schedule(next_s)

    def _cancel_older_than(self, timeout_s: float) -> float:
        """Cancel the calls that have been unsettled for so long; return after how many seconds the next one has."""
        now = asyncio.get_running_loop().time()
        for call, answered_at in list(self._answered_at.items()):
            if now - answered_at < timeout_s:
                return timeout_s - (now - answered_at)
            call.cancel()
            self._forget(call)
        return timeout_s


def begun(response: Awaitable[Any]) -> asyncio.Task[None]:
    """Return the task that awaits a call's reply; cancelling it cancels the call."""
    return asyncio.ensure_future(_reply(response))


async def _reply(response: Awaitable[Any]) -> None:
    """Await a reply; raises RequestCancelledError where the replica has given up its work.

    Serve's replica replies with the CancelledError itself that ended its work, as that of a delivery whose connection
    is lost, and the handle raises it: it would pass for a cancellation of whoever awaits the call.
    """
    try:
        await response
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        raise RequestCancelledError from None


def _ignore(call: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        call.exception()
