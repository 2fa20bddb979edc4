"""One key floods an H100 in a closed loop; another asks once a second."""

import random
import statistics
from dataclasses import dataclass

from deployments.queueing.job import Job
from deployments.queueing.order import Entry
from deployments.queueing.queue import Bounds, FairQueue
from tests.overload.engine import Asked, TellingEngine
from tests.overload.service import ANSWER, PROMPT, TICK_S
from tests.scaling.engine import MAX_RUNNING

SECONDS = 120.0
WITHOUT_QUEUE = 2**31


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in seconds, of the key that asks once a second; tokens of answers per second, of both keys."""

    ttft_p50_s: float
    ttft_p95_s: float
    tokens_per_s: float


class Flooded:
    """An engine behind a queue, or behind none that holds anything back."""

    def __init__(self, streams: int, capacity: int = MAX_RUNNING) -> None:
        self._queue = FairQueue(capacity, Bounds(WITHOUT_QUEUE, WITHOUT_QUEUE))
        self._engine = TellingEngine()
        self._streams = streams
        self._waiting: dict[Entry, Asked] = {}
        self._rng = random.Random(1)
        self.asked: list[Asked] = []
        """All of both keys."""
        self._tokens = 0

    def figures(self) -> Figures:
        """Run, and return what came of it once the engine was full."""
        now, light_at = 0.0, SECONDS / 4
        for _ in range(self._streams):
            self._ask("flood", now)
        while now < SECONDS:
            if now >= light_at:
                self._ask("light", now)
                light_at += 1.0
            self._engine.advance(now, TICK_S)
            now += TICK_S
            self._end(now)
        light = [one.request for one in self.asked if one.job.key_id == "light" and one.request]
        ttft = [request.ttft_s for request in light if request.ttft_s is not None]
        return Figures(statistics.median(ttft), statistics.quantiles(ttft, n=20)[-1], self._tokens / SECONDS)

    def _ask(self, key_id: str, now: float) -> Asked:
        prompt, answer = (max(4, round(self._rng.expovariate(1 / mean))) for mean in (PROMPT, ANSWER))
        asked = Asked(Job(key_id, prompt_tokens=prompt, answer_tokens=1024), prompt, answer, now)
        self.asked.append(asked)
        entry = self._queue.enter(asked.job, now)
        if entry is None:
            self._engine.begin(asked, now)
        else:
            self._waiting[entry] = asked
        return asked

    def _end(self, now: float) -> None:
        ended, self._engine.ended = self._engine.ended, []
        for asked in ended:
            self._tokens += asked.answer
            self._queue.release(asked.job)
            if asked.job.key_id == "flood":
                self._ask("flood", now)
        while (entry := self._queue.next(now)) is not None:
            self._engine.begin(self._waiting.pop(entry), now)
