"""Requests that are held while their model has no replica: how many, how long, and what their clients see meanwhile.

A place is the right of one request to wait. It is taken where no replica runs, and given back once the answer has
begun or the request has ended. Bounds are of one model and one ingress replica.
"""

import time
from collections.abc import Callable
from typing import Self

from deployments.errors import ModelLoading

RETRY_AFTER_S = 5.0
"""When to come again where nobody knows how long a start takes."""

Clock = Callable[[], float]


class Hold:
    """One request's place; `close` must be called."""

    def __init__(self, room: "HoldingRoom", wait_s: float) -> None:
        self._room = room
        self._expires_at = room.clock() + wait_s
        self.is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the place back."""
        if self.is_open:
            self.is_open = False
            self._room.count(-1)

    def left_s(self) -> float | None:
        """Return how many seconds the request may still be held; None once it need not be, as a replica runs."""
        return None if self._room.has_replica() else max(0.0, self._expires_at - self._room.clock())

    def check(self) -> None:
        """Raise ModelLoading if the request has been held as long as it may be."""
        if self.left_s() == 0.0:
            raise self._room.refusal("was held as long as it may be")

    def notice(self) -> str | None:
        """Return what the client sees meanwhile; None once a replica runs."""
        if self._room.has_replica():
            return None
        left_s = self._room.remaining_s()
        return "waiting for a replica" if left_s is None else f"waiting for a replica, about {max(1, round(left_s))} s"


class HoldingRoom:
    """The requests of one model that are held in this process."""

    def __init__(
        self,
        model: str,
        has_replica: Callable[[], bool],
        remaining_s: Callable[[], float | None],
        clock: Clock = time.monotonic,
        tell: Callable[[int], None] = lambda held: None,
    ) -> None:
        """`remaining_s` returns how long it probably takes until a replica runs, None if that is unknown.

        `tell` is called with how many are held, at once and whenever that changes.
        """
        self.held = 0
        self.has_replica = has_replica
        self.remaining_s = remaining_s
        self.clock = clock
        self._model = model
        self._tell = tell
        tell(0)

    def enter(self, max_held: int, hold_s: float, wait_s: float | None = None) -> Hold:
        """Return one of `max_held` places, for `hold_s` seconds or `wait_s` if that is less.

        Raises ModelLoading where that is 0, or no place is left.
        """
        may_wait_s = hold_s if wait_s is None else min(wait_s, hold_s)
        if may_wait_s <= 0:
            raise self.refusal("does not wait")
        if self.held >= max_held:
            raise self.refusal(f"is one too many: {self.held} wait already")
        self.count(1)
        return Hold(self, may_wait_s)

    def count(self, change: int) -> None:
        """Add to what is held."""
        self.held += change
        self._tell(self.held)

    def refusal(self, reason: str) -> ModelLoading:
        """Return the error for a request that is not held, or no longer; it says when to come again."""
        left_s = self.remaining_s()
        about = "" if left_s is None else f" It takes about {max(1, round(left_s))} s more."
        text = f"No replica of the model {self._model!r} is running yet, and the request {reason}.{about}"
        return ModelLoading(text, None, RETRY_AFTER_S if left_s is None else max(1.0, left_s))
