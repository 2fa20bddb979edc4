"""When requests are due, in seconds since the step began."""

import random
from collections.abc import Callable, Iterator

BURST_SHAPE = 0.25
"""Of the gamma distribution of gaps in bursts: their variance is four times that of a Poisson process (a
`--burstiness` of 0.25 in `vllm bench serve`)."""

Gap = Callable[[random.Random, float], float]


def _poisson(chance: random.Random, mean_s: float) -> float:
    return chance.expovariate(1 / mean_s)


def _bursts(chance: random.Random, mean_s: float) -> float:
    return chance.gammavariate(BURST_SHAPE, mean_s / BURST_SHAPE)


def _constant(_: random.Random, mean_s: float) -> float:
    return mean_s


PATTERNS: dict[str, Gap] = {"poisson": _poisson, "bursts": _bursts, "constant": _constant}


def arrivals(pattern: str, rate: float, lasts_s: float, seed: int) -> Iterator[float]:
    """Yield the due times of `rate` requests a second on average, ascending and below `lasts_s`; by `seed` the same."""
    chance, due_s = random.Random(f"{seed} {pattern} {rate}"), 0.0
    while (due_s := due_s + PATTERNS[pattern](chance, 1 / rate)) < lasts_s:
        yield due_s
