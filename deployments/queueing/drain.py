"""How fast a queue drains, from what left it lately while others waited."""

import math

MEMORY_S = 20.0
"""Seconds after which what was seen counts a third as much."""
MIN_SEEN_S = 0.2
MIN_SEEN = 3


class DrainRate:
    """A rate per second of time in which something waited."""

    def __init__(self) -> None:
        self._amount = 0.0
        self._seconds = 0.0
        self.seen = 0
        """How often something has left."""
        self._at = 0.0
        self._is_backlogged = False

    def note(self, now: float, amount: float, is_backlogged: bool) -> None:
        """Note that so much has left now, and whether something waits from now on."""
        passed = max(0.0, now - self._at)
        fade = math.exp(-passed / MEMORY_S) if self._is_backlogged else 1.0
        self._seconds = self._seconds * fade + (MEMORY_S * (1.0 - fade) if self._is_backlogged else 0.0)
        self._amount = self._amount * fade + amount
        self.seen += amount > 0.0
        self._at, self._is_backlogged = now, is_backlogged

    def per_s(self, now: float) -> float | None:
        """Return the rate; None as long as too little has been seen."""
        passed = max(0.0, now - self._at) if self._is_backlogged else 0.0
        fade = math.exp(-passed / MEMORY_S)
        seconds = self._seconds * fade + MEMORY_S * (1.0 - fade)
        if seconds < MIN_SEEN_S or self.seen < MIN_SEEN:
            return None
        return self._amount * fade / seconds
