"""The queue in front of one model's engines. Pure: the time is passed in, in monotonic seconds.

A job starts at once while nothing waits and a place is free; that costs a comparison and a counter. Else it waits in
the order of its class. What cannot wait any more is refused, with the time at which there is room for it again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from deployments.errors import Overloaded, TooManyRequests
from deployments.queueing.capacity import Slots
from deployments.queueing.drain import DrainRate
from deployments.queueing.job import Job, Notice, Priority, Refusal
from deployments.queueing.lengths import AnswerLengths
from deployments.queueing.order import NEW_IN_A_ROW, Entry, FairOrder
from deployments.queueing.promises import Promises
from deployments.queueing.waits import is_first, jobs_ahead, own_before, shared_ahead, tokens_ahead

UNKNOWN_RETRY_S = 5.0
MAX_RETRY_S = 3600.0
MIN_OWN_SEEN = 8
"""Jobs of a key after which its own rate says more than everybody's."""
PATIENCE_S = 30.0
"""After this time without a start the batch class has one all the same, so that it never starves."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs may wait, in all and of one key, and how long."""

    waiting: int = 1024
    waiting_per_key: int = 256
    wait_s: float = 120.0


class FairQueue:
    """Who waits for one model's engines, and in which order."""

    def __init__(self, capacity: int, bounds: Bounds = Bounds()) -> None:
        self.bounds = bounds
        self.slots = Slots(capacity)
        self.own_promises = Promises()
        """Of room within the bound of a key."""
        self.promises = Promises()
        """Of room within the bound of all."""
        self.refused: Callable[[Priority, Refusal], None] = lambda priority, reason: None
        """Called before a job is refused."""
        self.lengths = AnswerLengths()
        self.orders: dict[Priority, FairOrder] = {"interactive": FairOrder(), "batch": FairOrder()}
        self._rate = DrainRate()
        self._jobs_rate = DrainRate()
        self._batch_started = 0.0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self.orders["interactive"].size + self.orders["batch"].size

    @property
    def wanted(self) -> int:
        """How many places would be filled if there were enough."""
        return self.slots.running + self.waiting

    def enter(self, job: Job, now: float) -> Entry | None:
        """Let a job start at once, and return None; or let it wait.

        Raises TooManyRequests past the bound of its key; Overloaded past that of all, and where its client will have
        left by the time that it would start.
        """
        if not self.waiting and self._has_room_for(job):
            self.slots.take(job)
            return None
        entry = Entry(job, job.cost(self.lengths.expected(job.key_id)), now)
        self._require_time(entry, now)
        self._require_room(entry, now)
        if not self.waiting:
            self._note_left(now, 0.0, 0, True)
        if not self.orders["batch"].size and job.priority == "batch":
            self._batch_started = now
        self.orders[job.priority].push(entry)
        return entry

    def next(self, now: float) -> Entry | None:
        """Return the next job that may start now, which has its places from then on; None if there is none."""
        entry = self._next(now)
        if entry is not None:
            self.slots.take(entry.job)
            self._note_left(now, entry.cost, 1, self.waiting > 0)
        return entry

    def leave(self, entry: Entry, now: float) -> None:
        """Forget a job that waits."""
        self.orders[entry.job.priority].remove(entry, now)
        self._note_left(now, 0.0, 0, self.waiting > 0)

    def release(self, job: Job) -> None:
        """Take back the places of a job that has ended."""
        self.slots.release(job)

    def settle(self, job: Job, estimate: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Correct what a job's key has spent by what the job has really used."""
        length = completion_tokens / max(1, job.sequences)
        self.lengths.note(job.key_id, length)
        used = prompt_tokens + 2.0 * completion_tokens
        self.orders[job.priority].charge(job.key_id, used - estimate)

    def notice(self, entry: Entry, now: float) -> Notice:
        """Return where a waiting job stands."""
        position = jobs_ahead(self.orders[entry.job.priority], entry) + 1
        if entry.job.priority == "batch":
            position += self.orders["interactive"].size
        return Notice(position, self._wait_s(entry, now))

    def _has_room_for(self, job: Job) -> bool:
        slots = self.slots
        if job.priority == "batch":
            return slots.has_batch_room(job)
        return slots.has_room or (slots.has_spare and not slots.of(job.key_id))

    def _next(self, now: float) -> Entry | None:
        slots, interactive, batch = self.slots, self.orders["interactive"], self.orders["batch"]
        found: Entry | None = None
        is_starving = batch.size and now - self._batch_started > PATIENCE_S and slots.has_room
        if interactive.size and not is_starving:
            if slots.has_room:
                found = interactive.pop(now)
            elif slots.has_spare:
                found = interactive.pop(now, lambda key_id: not slots.of(key_id))
        elif (first := batch.peek()) is not None and (is_starving or slots.has_batch_room(first.job)):
            found = batch.pop(now)
            self._batch_started = now
        return found

    def _require_time(self, entry: Entry, now: float) -> None:
        """Raise Overloaded if the job's client will have left by the time that it would start."""
        left_s = entry.job.left_s(now)
        if left_s is None or self._whole_s(now) <= left_s:
            return
        wait_s = self._wait_s(entry, now)
        if wait_s is not None and wait_s > left_s:
            self.refused(entry.job.priority, "deadline")
            raise Overloaded(
                f"All replicas of the model are busy: the request would wait for about {round(wait_s)} s, and its "
                f"time-out is {max(0, round(left_s))} s.",
                None,
                min(MAX_RETRY_S, max(1.0, wait_s - left_s)),
            )

    def _require_room(self, entry: Entry, now: float) -> None:
        """Raise if too many wait already, or as many as leave just the places that are promised to others."""
        job, bounds = entry.job, self.bounds
        flow = self.orders[job.priority].flow(job.key_id)
        own = len(flow.waiting) if flow else 0
        has_own, has_place = (self._is_promised(each, job, now) for each in (self.own_promises, self.promises))
        waits: dict[int, tuple[Promises, float]] = {}
        mine, all_ = self.own_promises.of(job.key_id), len(self.promises)
        if own + (0 if has_own else min(mine, bounds.waiting_per_key // 2)) >= bounds.waiting_per_key:
            number = own - bounds.waiting_per_key + 1 + mine
            waits[TooManyRequests.status] = self.own_promises, self._own_retry_s(entry, number, now)
        if self.waiting + (0 if has_place else min(all_, bounds.waiting // 2)) >= bounds.waiting:
            number, rate = self.waiting - bounds.waiting + 1 + all_, self._jobs_rate.per_s(now)
            waits[Overloaded.status] = self.promises, number / rate if rate else UNKNOWN_RETRY_S
        if not waits:
            return
        # In whole seconds, as `Retry-After` has them.
        retry_s = min(MAX_RETRY_S, max(1.0, *(float(math.ceil(wait_s)) for _, wait_s in waits.values())))
        for promises, _ in waits.values():
            promises.give(job.key_id, now + retry_s)
        self.refused(job.priority, "key_full" if TooManyRequests.status in waits else "full")
        if TooManyRequests.status in waits:
            text = f"{own} requests of this key wait already, as many as may. Please try again in {retry_s:.0f} s."
            raise TooManyRequests(text, None, retry_s)
        raise Overloaded("", None, retry_s)

    def _is_promised(self, promises: Promises, job: Job, now: float) -> bool:
        promises.expire(now)
        return not job.is_first_attempt and promises.redeem(job.key_id, now)

    def _own_retry_s(self, entry: Entry, number: int, now: float) -> float:
        """Return the seconds until so many of the key's own jobs have started."""
        order = self.orders[entry.job.priority]
        flow = order.flow(entry.job.key_id)
        assert flow is not None
        tokens = max(1, number) * flow.backlog / len(flow.waiting)
        own, rate = flow.rate.per_s(now), self._rate.per_s(now)
        if rate is None:
            return UNKNOWN_RETRY_S
        # The key's own rate is that of the past: with more keys than before, its share is less.
        shared_s = shared_ahead(order, flow.key_id, flow.weight, tokens) / rate
        return max(shared_s, tokens / own) if own else shared_s

    def _wait_s(self, entry: Entry, now: float) -> float | None:
        """Return how long a job will probably wait yet; None if unknown."""
        order = self.orders[entry.job.priority]
        rate, flow = self._rate.per_s(now), order.flow(entry.job.key_id)
        if rate is None:
            return None
        if is_first(order, entry):
            return self._later_s(entry, tokens_ahead(order, entry), rate)
        if flow and flow.rate.seen >= MIN_OWN_SEEN and (own := flow.rate.per_s(now)):
            return own_before(order, entry) / own
        # Those who come meanwhile, and had nothing waiting, go before it.
        rest = rate - (order.new_rate.per_s(now) or 0.0)
        return self._later_s(entry, tokens_ahead(order, entry), max(rest, rate / (NEW_IN_A_ROW + 1)))

    def _later_s(self, entry: Entry, ahead: float, rate: float) -> float:
        interactive = self.orders["interactive"].backlog if entry.job.priority == "batch" else 0.0
        return (ahead + interactive) / rate

    def _whole_s(self, now: float) -> float:
        """Return about how long all that waits takes, or infinity if unknown."""
        rate = self._rate.per_s(now)
        backlog = self.orders["interactive"].backlog + self.orders["batch"].backlog
        return backlog / rate if rate else float("inf")

    def _note_left(self, now: float, cost: float, jobs: int, is_backlogged: bool) -> None:
        self._rate.note(now, cost, is_backlogged)
        self._jobs_rate.note(now, jobs, is_backlogged)
