"""What is asked of the service: arrivals by chance (Poisson) at a rate that changes, with lengths as in chats."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.scaling.engine import Request

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Trace:
    """`chats` and `documents` are requests per second at a time; a document is a long prompt."""

    name: str
    seconds: float
    chats: Callable[[float], float]
    documents: Callable[[float], float] = lambda _: 0.0

    def requests(self, seed: int) -> Iterator[Request]:
        """Yield the requests in the order of their arrival."""
        chance = random.Random(seed)
        at = 0.0
        highest = 1.05 * max(self.chats(t) + self.documents(t) for t in _times(self.seconds))
        while (at := at + chance.expovariate(highest)) < self.seconds:
            chats, documents = self.chats(at), self.documents(at)
            drawn = chance.random() * highest
            if drawn < chats:
                yield Request(at, _length(chance, 2000, 0.8, 16_000), _length(chance, 600, 0.6, 3000))
            elif drawn < chats + documents:
                yield Request(at, _length(chance, 24_000, 0.3, 60_000), _length(chance, 400, 0.4, 2000))


def _length(chance: random.Random, mean: float, sigma: float, most: int) -> int:
    return max(8, min(most, round(chance.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma))))


def _times(seconds: float) -> list[float]:
    return [float(t) for t in range(int(seconds))]


def _ramp(t: float) -> float:
    return 3 + 25 * min(1.0, max(0.0, (t - 5 * MINUTE) / (20 * MINUTE)))


def _spike(t: float) -> float:
    return 20.0 if 10 * MINUTE <= t < 20 * MINUTE else 5.0


def _day(t: float) -> float:
    return 2 + 10 * (1 - math.cos(2 * math.pi * t / (150 * MINUTE)))


def _burst(t: float) -> float:
    return 2.0 if 10 * MINUTE <= t < 20 * MINUTE else 0.0


RAMP = Trace("ramp", 40 * MINUTE, _ramp)
SPIKE = Trace("spike", 40 * MINUTE, _spike)
DAY = Trace("day curve", 150 * MINUTE, _day)
BURST = Trace("long prompts", 40 * MINUTE, lambda _: 5.0, _burst)
TRACES = (RAMP, SPIKE, DAY, BURST)


def steady(rate: float, seconds: float) -> Trace:
    """Return a trace in which nothing changes but by chance."""
    return Trace(f"{rate:g} per second", seconds, lambda _: rate)


def step(low: float, high: float, at: float, seconds: float) -> Trace:
    """Return a trace that jumps."""
    return Trace("step", seconds, lambda t: high if t >= at else low)
