"""A circuit breaker: what failed several times in a row is left alone for a while.

    closed ── threshold failures ──▶ open ── back-off ──▶ half-open (one trial)
       ▲                              ▲                        │
       └────────── success ───────────┼──────── failure ───────┘

The back-off doubles with every failed trial, up to its maximum.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

BREAKER_OPEN = "breaker_open"


class BreakerOpen(Exception):
    """Not tried, since the last trials failed."""


class Breaker:
    """One breaker per thing that can fail; for one event loop."""

    def __init__(
        self,
        threshold: int = 5,
        backoff_s: float = 0.1,
        max_backoff_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._first_backoff_s = backoff_s
        self._max_backoff_s = max_backoff_s
        self._clock = clock
        self._failures = 0
        self._backoff_s = backoff_s
        self._open_until = 0.0
        self._trial_is_out = False

    @property
    def is_open(self) -> bool:
        """Whether an attempt would be refused right now."""
        return self._failures >= self._threshold and (self._trial_is_out or self._clock() < self._open_until)

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Let the block run and learn from its end, or raise `BreakerOpen`.

        An `Exception` from the block is a failure; a cancellation says nothing
        about the other side and leaves everything as it was.
        """
        if self.is_open:
            raise BreakerOpen
        is_trial = self._trial_is_out = self._failures >= self._threshold
        try:
            yield
        except Exception:
            self._failed()
            raise
        else:
            self._failures, self._backoff_s = 0, self._first_backoff_s
        finally:
            if is_trial:
                self._trial_is_out = False

    def _failed(self) -> None:
        self._failures += 1
        if self._failures < self._threshold:
            return
        if self._failures > self._threshold:
            self._backoff_s = min(self._backoff_s * 2, self._max_backoff_s)
        self._open_until = self._clock() + self._backoff_s
