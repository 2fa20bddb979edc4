"""The queue in front of one model's engines. Pure: the time is passed in, in monotonic seconds.

A job starts at once while nothing waits and a place is free; that costs a comparison and a counter. Else it waits in
the order of its class. What cannot wait any more is refused, with the time at which there is room for it again.
"""

from dataclasses import dataclass

from deployments.errors import Overloaded, TooManyRequests
from deployments.queueing.capacity import Slots
from deployments.queueing.drain import DrainRate
from deployments.queueing.job import Job, Notice, Priority
from deployments.queueing.lengths import AnswerLengths
from deployments.queueing.order import Entry, FairOrder
from deployments.queueing.promises import Promises
from deployments.queueing.waits import jobs_ahead, own_before, tokens_ahead

UNKNOWN_RETRY_S = 5.0
MAX_RETRY_S = 3600.0
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
            return slots.has_batch_room
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
        elif batch.size and (is_starving or slots.has_batch_room):
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
        own_kept = 0 if has_own else min(self.own_promises.of(job.key_id), bounds.waiting_per_key // 2)
        if own + own_kept >= bounds.waiting_per_key:
            number = own - bounds.waiting_per_key + 1 + self.own_promises.of(job.key_id)
            retry_s = _promised(self.own_promises, job, self._own_retry_s(entry, own, number, now), now)
            raise TooManyRequests(
                f"{own} requests of this key wait already, as many as may. Please try again in {round(retry_s)} s.",
                None,
                retry_s,
            )
        kept = 0 if has_place else min(len(self.promises), bounds.waiting // 2)
        if self.waiting + kept >= bounds.waiting:
            number = self.waiting - bounds.waiting + 1 + len(self.promises)
            rate = self._jobs_rate.per_s(now)
            raise Overloaded("", None, _promised(self.promises, job, number / rate if rate else UNKNOWN_RETRY_S, now))

    def _is_promised(self, promises: Promises, job: Job, now: float) -> bool:
        promises.expire(now)
        return not job.is_first_attempt and promises.redeem(job.key_id, now)

    def _own_retry_s(self, entry: Entry, own: int, number: int, now: float) -> float:
        """Return the seconds until so many of the key's own jobs have started."""
        order = self.orders[entry.job.priority]
        flow = order.flow(entry.job.key_id)
        assert flow is not None
        tokens = max(1, number) * flow.backlog / own
        if (rate := flow.rate.per_s(now)) is not None:
            return tokens / rate
        rate = self._rate.per_s(now)
        return tokens_ahead(order, flow.key_id, flow.weight, tokens) / rate if rate else UNKNOWN_RETRY_S

    def _wait_s(self, entry: Entry, now: float) -> float | None:
        """Return how long a job will probably wait yet; None where nobody knows."""
        order = self.orders[entry.job.priority]
        flow = order.flow(entry.job.key_id)
        before = own_before(order, entry)
        if flow and (own := flow.rate.per_s(now)) is not None:
            return before / own
        rate = self._rate.per_s(now)
        if rate is None:
            return None
        ahead = tokens_ahead(order, entry.job.key_id, entry.job.weight, before) if before else 0.0
        if entry.job.priority == "batch":
            ahead += self.orders["interactive"].backlog
        return ahead / rate

    def _whole_s(self, now: float) -> float:
        """Return about how long all that waits takes, or infinity where nobody knows."""
        rate = self._rate.per_s(now)
        backlog = self.orders["interactive"].backlog + self.orders["batch"].backlog
        return backlog / rate if rate else float("inf")

    def _note_left(self, now: float, cost: float, jobs: int, is_backlogged: bool) -> None:
        self._rate.note(now, cost, is_backlogged)
        self._jobs_rate.note(now, jobs, is_backlogged)


def _promised(promises: Promises, job: Job, wait_s: float, now: float) -> float:
    """Return in how many whole seconds, as `Retry-After` has them, there is room, and keep it then."""
    retry_s = min(MAX_RETRY_S, max(1.0, float(-int(-wait_s // 1))))
    promises.give(job.key_id, now + retry_s)
    return retry_s
