"""What waits in ingress replicas for a model, as its replicas report it to Serve's autoscaler beside their own load.

Serve counts what waits in its handles. What waits in front of these it learns from the replicas, which are told every
few seconds while something waits.
"""

import time
from collections.abc import Callable

FRESH_S = 10.0
"""An ingress replica that has said nothing for so long has nothing waiting, or is gone."""


class Backlog:
    """This replica's part of what waits, by the ingress replica that told it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reported: dict[str, tuple[float, float]] = {}

    def note(self, sender: str, waiting: float) -> None:
        """Take what an ingress replica says."""
        now = self._clock()
        self._reported = {name: each for name, each in self._reported.items() if now - each[1] < FRESH_S}
        self._reported[sender] = waiting, now

    @property
    def waiting(self) -> float:
        """How many requests wait."""
        now = self._clock()
        return sum(waiting for waiting, at in self._reported.values() if now - at < FRESH_S)
