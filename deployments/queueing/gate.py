"""The queue in front of one model's engines, for asyncio: `admitted` around a call of the model."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from deployments.errors import Overloaded
from deployments.queueing.job import Job, Notice
from deployments.queueing.order import Entry
from deployments.queueing.queue import UNKNOWN_RETRY_S, Bounds, FairQueue

LOOK_S = 0.5


class Gate:
    """Lets as many requests to a model as keep its engines full, in the queue's order; for one event loop."""

    def __init__(self, capacity: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        """`capacity` returns how many sequences this process may have in the model's engines now."""
        self.queue = FairQueue(capacity())
        self.changed: Callable[[], None] = lambda: None
        """Called when more or fewer wait."""
        self._capacity = capacity
        self._clock = clock
        self._starts: dict[Entry, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def configure(self, bounds: Bounds) -> None:
        """Go by these bounds from now on."""
        self.queue.bounds = bounds

    @asynccontextmanager
    async def admitted(self, job: Job) -> AsyncGenerator[None]:
        """Wait for the job's turn, and hold its places until the end of the block.

        Cancelled while it waits, it never starts. Raises TooManyRequests and Overloaded as `FairQueue.enter` does, and
        Overloaded for one that has waited as long as it may and is not patient.
        """
        self.queue.slots.capacity = self._capacity()
        entry = self.queue.enter(job, self._clock())
        if entry is not None:
            await self._turn(entry)
        estimate = job.cost(self.queue.lengths.expected(job.key_id)) if entry is None else entry.cost
        job.on_settled = lambda prompt, completion: self.queue.settle(job, estimate, prompt, completion)
        try:
            yield
        finally:
            self.queue.release(job)
            self.start()

    def start(self) -> None:
        """Start who may start, as after a change of the capacity."""
        if not self.queue.waiting:
            return
        self.queue.slots.capacity = self._capacity()
        while (entry := self.queue.next(self._clock())) is not None:
            # One that is cancelled, and has not run since, gives its turn back as soon as it does.
            if not (start := self._starts.pop(entry)).done():
                start.set_result(None)
        self.changed()
        self._look_again()

    def _look_again(self) -> None:
        """While some wait, look now and then whether the capacity has grown."""
        if self.queue.waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._looked)

    def _looked(self) -> None:
        self._timer = None
        self.start()

    async def _turn(self, entry: Entry) -> None:
        start = self._starts[entry] = asyncio.get_running_loop().create_future()
        entry.job.is_waiting, entry.job.notice = True, lambda: self._notice(entry)
        self.changed()
        self._look_again()
        try:
            async with asyncio.timeout(None if entry.job.is_patient else self.queue.bounds.wait_s):
                await start
        except TimeoutError:
            wait_s = self.queue.notice(entry, self._clock()).wait_s
            self._leave(entry)
            self.queue.refused(entry.job.priority, "max_wait")
            text = "All replicas of the model are busy, and the request has waited as long as it may."
            raise Overloaded(text, None, max(1.0, wait_s or UNKNOWN_RETRY_S)) from None
        except BaseException:
            self._leave(entry)
            raise
        finally:
            entry.job.is_waiting = False

    def _leave(self, entry: Entry) -> None:
        """Forget a job that waited; one whose turn had come already gives it back."""
        if self._starts.pop(entry, None) is not None:
            self.queue.leave(entry, self._clock())
            self.changed()
        else:
            self.queue.release(entry.job)
            self.start()

    def _notice(self, entry: Entry) -> Notice | None:
        return self.queue.notice(entry, self._clock()) if entry in self._starts else None
