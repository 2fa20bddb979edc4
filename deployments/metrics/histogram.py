"""Durations counted in exponential steps: what many processes counted can be added, and quantiles read from the sum.

Step `i` ends at 1 ms · 1.25^i, so that a quantile is off by less than an eighth; the first
holds all below 1 ms, the last all above 21 minutes, which is longer than any request may take.
"""

import math
from collections.abc import Mapping

FIRST_S = 0.001
GROWTH = 1.25
STEPS = 64

_PER_STEP = 1 / math.log(GROWTH)


def step_of(seconds: float) -> int:
    """Return the step that a duration falls into."""
    if seconds <= FIRST_S:
        return 0
    return min(STEPS - 1, math.ceil(math.log(seconds / FIRST_S) * _PER_STEP))


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the seconds below which `share` of what was counted lies; None if there is nothing.

    Within a step, durations count as spread evenly over its logarithm.
    """
    rank = share * sum(counts.values())
    if not rank:
        return None
    for step in sorted(counts):
        if rank <= counts[step]:
            return FIRST_S * GROWTH ** (step - 1 + rank / counts[step])
        rank -= counts[step]
    return FIRST_S * GROWTH ** max(counts)
