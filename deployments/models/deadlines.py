"""The deadlines of one answer: for its first token, between two tokens, and for all of it."""

import asyncio
import time
from collections.abc import Callable

from deployments.config import Timeouts
from deployments.models.delivery.listener import Stream


class Deadlines:
    """Calls `expire` once when a stream misses a deadline; `stop` must be called when it has ended.

    A message costs no timer: the one that runs looks, when it is due, at when the last frames came.
    """

    def __init__(
        self, stream: Stream, timeouts: Timeouts, expire: Callable[[], None], total_at: float | None = None
    ) -> None:
        """`total_at` is when all of the answer is due (monotonic seconds), where it began before this stream."""
        self._stream = stream
        self._idle_s = timeouts.idle_s
        self._expire = expire
        now = time.monotonic()
        self._first_at = now + timeouts.first_token_s
        self._total_at = now + timeouts.total_s if total_at is None else total_at
        self._loop = asyncio.get_running_loop()
        self._timer = self._schedule(now)

    def stop(self) -> None:
        """Expect nothing any more."""
        self._timer.cancel()

    @property
    def _due_at(self) -> float:
        last_at = self._stream.last_at
        return min(self._total_at, self._first_at if last_at is None else last_at + self._idle_s)

    def _schedule(self, now: float) -> asyncio.TimerHandle:
        # Never later than the idle deadline of frames that come meanwhile.
        return self._loop.call_later(min(max(0.001, self._due_at - now), self._idle_s), self._check)

    def _check(self) -> None:
        now = time.monotonic()
        if now >= self._due_at:
            self._expire()
        else:
            self._timer = self._schedule(now)
