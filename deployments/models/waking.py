"""The demand that wakes a model without a replica: one queued call, however many requests wait.

Serve's autoscaler counts the requests that its handles have queued. With none running, one queued request makes it
start a replica (`_get_cold_start_scale_up_replicas` in `ray/serve/autoscaling_policy.py`). Once that runs, all who
waited are sent to it, and Serve scales further by what they are.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from deployments.errors import ModelFailed, ModelNotFound
from deployments.infra.detached import detached
from deployments.models.calls import begun

POLL_S = 0.2
RETRY_S = 1.0
"""Seconds between two calls where one ended without a replica."""
NUDGE_S = 10.0
"""How long a model is demanded for a request that does not wait: longer than the autoscaler takes to see it."""
READY, FAILED, REMOVED = "ready", "failed", "removed"
_FINAL = frozenset({READY, FAILED, REMOVED})


class WakingCall(Protocol):
    """A call of a deployment's handle: awaited, or withdrawn."""

    def __await__(self) -> Any: ...

    def cancel(self) -> Any: ...


class Demand:
    """The demand of one ingress replica for one model."""

    def __init__(self, call: Callable[[], WakingCall], status: Callable[[], Awaitable[str]]) -> None:
        """`call` begins a small call that a replica answers; `status` returns READY, FAILED, REMOVED or another."""
        self._call = call
        self._status = status
        self._waiting = 0
        self._nudged_until = float("-inf")
        self._task: asyncio.Task[str] | None = None
        self.since: float | None = None
        """When the demand began (Unix seconds), while there is one."""

    async def ready(self) -> None:
        """Return once a replica runs, demanding one meanwhile; the caller bounds the wait.

        Raises ModelFailed, and ModelNotFound for a model that is removed meanwhile.
        """
        if await self._status() == READY:
            return
        self._waiting += 1
        try:
            ended = await asyncio.shield(self._begin())
            if ended == FAILED:
                raise ModelFailed
            if ended == REMOVED:
                raise ModelNotFound("The model has been removed.", "model")
        finally:
            self._waiting -= 1
            self._withdraw()

    def nudge(self) -> None:
        """Demand the model for a while though nobody waits for it."""
        self._nudged_until = time.monotonic() + NUDGE_S
        self._begin()
        asyncio.get_running_loop().call_later(NUDGE_S + 0.1, self._withdraw)

    async def aclose(self) -> None:
        """Withdraw the demand, whoever waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _begin(self) -> "asyncio.Task[str]":
        if self._task is None or self._task.done():
            self.since = time.time()
            self._task = detached(self._wake(), "wake-model")
            self._task.add_done_callback(self._ended)
        return self._task

    def _ended(self, task: "asyncio.Task[str]") -> None:
        if self._task is task:
            self.since = None

    def _withdraw(self) -> None:
        if self._waiting == 0 and time.monotonic() >= self._nudged_until and self._task is not None:
            self._task.cancel()
            self._task, self.since = None, None

    async def _wake(self) -> str:
        """Keep one call queued until a replica runs, or the model has failed or is removed, and return which."""
        call: WakingCall | None = None
        reply: asyncio.Task[None] | None = None
        call_at = float("-inf")
        try:
            while (status := await self._status()) not in _FINAL:
                if (reply is None or reply.done()) and time.monotonic() - call_at >= RETRY_S:
                    call, call_at = self._call(), time.monotonic()
                    reply = begun(call)
                    reply.add_done_callback(_ignore)
                await asyncio.sleep(POLL_S)
            return status
        finally:
            if call is not None and reply is not None and not reply.done():
                reply.cancel()
                with suppress(Exception):
                    call.cancel()


def _ignore(reply: "asyncio.Task[None]") -> None:
    """Note that a call has ended. If it failed, the model's state shows why."""
    if not reply.cancelled():
        reply.exception()
