"""Handle calls whose answers have arrived: the call's own reply comes after them, under load by seconds.

An answer comes by the connection between the replicas (delivery/) and is over when its last message is here. The
call that asked for it is then left to itself. How many such calls may be out is bounded: Ray Serve counts each as a
request that its replica still works on, and each holds memory here.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

MAX_UNSETTLED = 256
REPLY_TIMEOUT_S = 30.0
"""How long the reply of a call may take after its answer; then the call is cancelled."""


class Calls:
    """The calls of one process to all replicas."""

    def __init__(self, max_unsettled: int = MAX_UNSETTLED, reply_timeout_s: float = REPLY_TIMEOUT_S) -> None:
        self._max_unsettled = max_unsettled
        self._reply_timeout_s = reply_timeout_s
        self._unsettled: dict[asyncio.Task[None], asyncio.TimerHandle] = {}
        self._has_room = asyncio.Event()
        self._has_room.set()

    @property
    def unsettled(self) -> int:
        """How many calls have no reply yet though their answers are here."""
        return len(self._unsettled)

    async def room(self) -> None:
        """Wait while too many calls are unsettled."""
        while not self._has_room.is_set():
            await self._has_room.wait()

    def settle(self, call: asyncio.Task[None]) -> None:
        """Leave a call to itself whose answer is here; whatever it replies or fails with tells nobody anything."""
        if call.done():
            return _ignore(call)
        loop = asyncio.get_running_loop()
        self._unsettled[call] = loop.call_later(self._reply_timeout_s, call.cancel)
        if len(self._unsettled) >= self._max_unsettled:
            self._has_room.clear()
        call.add_done_callback(self._replied)
        return None

    async def aclose(self) -> None:
        """Cancel the calls that are unsettled."""
        calls = list(self._unsettled)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _replied(self, call: asyncio.Task[None]) -> None:
        self._unsettled.pop(call).cancel()
        if len(self._unsettled) < self._max_unsettled:
            self._has_room.set()
        _ignore(call)


def begun(response: Awaitable[Any]) -> asyncio.Task[None]:
    """Return the task that awaits a call's reply; cancelling it cancels the call."""
    return asyncio.ensure_future(_reply(response))


async def _reply(response: Awaitable[Any]) -> None:
    await response


def _ignore(call: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        call.exception()
