"""Which rate comes next: doubled until the service is saturated, then closer to the highest that meets the goal."""

from collections.abc import Sequence
from dataclasses import dataclass, field

FACTOR = 2.0
CLOSE = 1.12
"""Two rates this close are told apart no further."""


@dataclass(slots=True)
class Search:
    """Proposes rates, in requests per second, and learns from what they led to."""

    first: float
    most_steps: int
    fixed: Sequence[float] = ()
    """Rates to try in this order, in place of a search."""
    best: float = 0.0
    """The highest rate that met the goal."""
    missed: float = float("inf")
    """The lowest above it that did not."""
    saturated: float = float("inf")
    tried: list[float] = field(default_factory=list[float])

    def next(self) -> float | None:
        """Return the rate to try now, or None if the search is over."""
        if len(self.tried) >= (len(self.fixed) or self.most_steps):
            return None
        if self.fixed:
            return self.fixed[len(self.tried)]
        if not self.tried:
            return self.first
        if self.saturated == float("inf"):
            return max(self.tried) * FACTOR
        low, high = self.best, self.missed
        if not low:  # not even the first rate met the goal
            return min(self.tried) / FACTOR if min(self.tried) > self.first / 64 else None
        return _rounded((low * high) ** 0.5) if high / low > CLOSE else None

    def tell(self, rate: float, meets_goal: bool, is_saturated: bool) -> None:
        """Take the outcome of a step. A higher rate that met the goal outweighs a lower that missed it by chance."""
        self.tried.append(rate)
        if meets_goal:
            self.best = max(self.best, rate)
            self.missed = self.missed if self.missed > self.best else float("inf")
        elif rate > self.best:
            self.missed = min(self.missed, rate)
        if is_saturated:
            self.saturated = min(self.saturated, rate)


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")
