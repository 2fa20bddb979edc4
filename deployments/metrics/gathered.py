"""Metrics that reach Ray once a second: to record one costs 10 µs, which a cached answer would pay six times."""

import asyncio
from collections import defaultdict
from contextlib import suppress

from ray.util.metrics import Counter, Gauge

FLUSH_S = 1.0

Tags = tuple[tuple[str, str], ...]


class GatheredMetrics:
    """What one event loop has counted since it was last told to Ray."""

    def __init__(self) -> None:
        self._counts: dict[Counter, defaultdict[Tags, float]] = {}
        self._levels: dict[tuple[Gauge, Tags], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def count(self, counter: Counter, value: float = 1, **tags: str) -> None:
        """Add to a counter, within a second."""
        if counter not in self._counts:
            self._counts[counter] = defaultdict(float)
        self._counts[counter][tuple(tags.items())] += value
        self._later()

    def level(self, gauge: Gauge, value: float, **tags: str) -> None:
        """Set a gauge, within a second; what it was in between is not told."""
        self._levels[gauge, tuple(tags.items())] = value
        self._later()

    def flush(self) -> None:
        """Tell Ray now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for counter, counts in self._counts.items():
            for tags, value in counts.items():
                counter.inc(value, dict(tags))
            counts.clear()
        for (gauge, tags), value in self._levels.items():
            gauge.set(value, dict(tags))
        self._levels.clear()

    def _later(self) -> None:
        if self._timer is None:
            with suppress(RuntimeError):  # no event loop runs: whoever counts there flushes
                self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
