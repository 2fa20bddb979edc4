"""Keys that ask an H100 through the queue, obey what they are told, and come again when they are told to."""

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from deployments.errors import Overloaded, TooManyRequests
from deployments.queueing.job import Job
from deployments.queueing.order import Entry
from deployments.queueing.queue import Bounds, FairQueue
from tests.overload.engine import Asked, TellingEngine
from tests.scaling.engine import MAX_RUNNING

TICK_S = 0.01
KEYS = 10_000
PROMPT, ANSWER = 500, 200
"""Means in tokens; a key's own are up to three times as many, or few."""
CAPACITY_PER_S = 57.0
"""Requests of these lengths that one H100 answers in a second; a test measures it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: so many times the capacity, for `seconds`, by keys whose popularity is Zipf's."""

    times: float = 3.0
    seconds: float = 60.0
    exponent: float = 1.1
    bounds: Bounds = field(default_factory=Bounds)
    seed: int = 1


class Keys:
    """Who asks, and how much each time."""

    def __init__(self, load: Load) -> None:
        self._rng = random.Random(load.seed)
        self._weights = list(itertools.accumulate((at + 1) ** -load.exponent for at in range(KEYS)))
        self._lengths = [self._rng.choice((0.3, 0.7, 1.0, 2.0)) for _ in range(KEYS)]
        self._load = load

    def arrivals(self) -> Iterator[Asked]:
        """Yield what is asked, in the order of time."""
        now, rng = 0.0, self._rng
        while (now := now + rng.expovariate(self._load.times * CAPACITY_PER_S)) < self._load.seconds:
            key = rng.choices(range(KEYS), cum_weights=self._weights)[0]
            prompt, answer = (
                max(4, round(rng.expovariate(1 / mean) * self._lengths[key])) for mean in (PROMPT, ANSWER)
            )
            job = Job(f"key-{key}", prompt_tokens=prompt, answer_tokens=4 * answer, created=now)
            yield Asked(job, prompt, answer, now)


@dataclass(slots=True)
class Run:
    """What came of it."""

    asked: list[Asked] = field(default_factory=list[Asked])
    room_errors: list[float] = field(default_factory=list[float])
    """Of each refusal for capacity: `Retry-After` against the time at which as many had started as were before it."""
    wait_errors: list[float] = field(default_factory=list[float])
    """Of each that waited: the estimate when it came against what it was."""
    let_in: int = 0
    refused_again: int = 0

    @property
    def let_in_at_first_retry(self) -> float:
        """The share of those who came again, as told, that were let in."""
        return self.let_in / max(1, self.let_in + self.refused_again)


class Service:
    """The queue, the engine behind it, and clients that obey."""

    def __init__(self, load: Load) -> None:
        self.queue = FairQueue(MAX_RUNNING, load.bounds)
        self.engine = TellingEngine()
        self.run = Run()
        self._load = load
        self._retries: list[tuple[float, int, Asked]] = []
        self._waiting: dict[Entry, Asked] = {}
        self._lines: list[tuple[int, float, float]] = []  # a place in line, when it was told, and how long
        self._started = 0
        self._numbers = itertools.count()

    def simulate(self) -> Run:
        """Run until nobody is left."""
        arrivals, now = Keys(self._load).arrivals(), 0.0
        coming = next(arrivals, None)
        while coming or self._retries or self._waiting:
            while coming and coming.arrived <= now:
                self.run.asked.append(coming)
                self._ask(coming, now)
                coming = next(arrivals, None)
            while self._retries and self._retries[0][0] <= now:
                self._ask(heapq.heappop(self._retries)[2], now)
            self.engine.advance(now, TICK_S)
            now += TICK_S
            self._end(now)
        return self.run

    def _ask(self, asked: Asked, now: float) -> None:
        asked.attempts += 1
        asked.job.is_first_attempt = asked.attempts == 1
        line = self._started + self.queue.waiting - self.queue.bounds.waiting + 1 + len(self.queue.promises)
        try:
            entry = self.queue.enter(asked.job, now)
        except (Overloaded, TooManyRequests) as refused:
            self._refused(asked, refused, line, now)
            return
        self.run.let_in += asked.attempts == 2
        if entry is None:
            self._start(asked, now)
        else:
            self._waiting[entry] = asked
            asked.told_s = self.queue.notice(entry, now).wait_s

    def _refused(self, asked: Asked, refused: Overloaded | TooManyRequests, line: int, now: float) -> None:
        retry_s = refused.retry_after_s or 1.0
        self.run.refused_again += asked.attempts == 2
        if asked.attempts == 1 and isinstance(refused, Overloaded):
            heapq.heappush(self._lines, (line, now, retry_s))
        heapq.heappush(self._retries, (now + retry_s + random.Random(line).uniform(0, 0.2), next(self._numbers), asked))

    def _start(self, asked: Asked, now: float) -> None:
        self.engine.begin(asked, now)

    def _end(self, now: float) -> None:
        for asked in self.engine.ended:
            self.queue.release(asked.job)
            estimate = asked.job.cost(self.queue.lengths.expected(asked.job.key_id))
            self.queue.settle(asked.job, estimate, asked.prompt, asked.answer)
        self.engine.ended.clear()
        while (entry := self.queue.next(now)) is not None:
            asked = self._waiting.pop(entry)
            self._started += 1
            self._start(asked, now)
            if asked.told_s is not None and now - entry.since > 1.0:
                self.run.wait_errors.append((asked.told_s - (now - entry.since)) / (now - entry.since))
        while self._lines and self._lines[0][0] <= self._started:
            _, at, told_s = heapq.heappop(self._lines)
            if now - at > 1.0:
                self.run.room_errors.append((told_s - (now - at)) / (now - at))
