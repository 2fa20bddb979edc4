"""An H100 that tells which of its requests have ended, and begins those that the queue lets in."""

import heapq
import itertools
from dataclasses import dataclass

from deployments.queueing.job import Job
from tests.scaling.engine import Engine, Request


@dataclass(eq=False, slots=True)
class Asked:
    """A request of a key, from its first attempt on; times in seconds."""

    job: Job
    prompt: int
    answer: int
    arrived: float
    request: Request | None = None
    attempts: int = 0
    told_s: float | None = None
    """The first `Retry-After`, or the first estimate of the wait."""
    started: float | None = None


class TellingEngine(Engine):
    """`ended` are those that have ended since it was last emptied."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[Asked] = []
        self._asked: dict[int, Asked] = {}
        self._ends: list[tuple[float, int, Asked]] = []
        self._numbers = itertools.count()

    def begin(self, asked: Asked, now: float) -> None:
        """Take a request that the queue has let in."""
        asked.started = now
        asked.request = Request(asked.arrived, asked.prompt, asked.answer)
        self._asked[id(asked.request)] = asked
        self.add(asked.request)

    def _first_token(self, now: float, step: float) -> None:
        asked = self._asked.pop(id(self.waiting[0]))
        super()._first_token(now, step)
        heapq.heappush(self._ends, (self._written + asked.answer, next(self._numbers), asked))

    def _write(self, tokens: float) -> None:
        super()._write(tokens)
        while self._ends and self._ends[0][0] <= self._written + 1e-9:
            self.ended.append(heapq.heappop(self._ends)[2])
