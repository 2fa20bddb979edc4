"""Whose turn it is: deficit round robin between keys, after Shreedhar and Varghese (SIGCOMM 1995).

Each key has a flow. In its turn a flow may spend a quantum of tokens times the key's weight; what it spends beyond
that it lacks in the next turns. As in FQ-CoDel (RFC 8290), a flow that was empty comes before those that keep a queue,
for one quantum: a key that asks now and then does not wait for others' backlogs. What a job cost more or less than
estimated is added when it has ended, so that estimates bring nobody an advantage.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from deployments.queueing.drain import DrainRate
from deployments.queueing.job import Job

QUANTUM = 64.0
"""Less than most jobs cost, so that a turn is one job."""
NEW_IN_A_ROW = 3
"""So many jobs of flows that were empty come before one of the others, which never starve so."""
MAX_DEBTORS = 10_000
MAX_SCAN = 64
"""Flows that are looked at for one that may start, where not all may."""


@dataclass(eq=False, slots=True)
class Entry:
    """A job that waits, at an estimated cost; `since` is when it came."""

    job: Job
    cost: float
    since: float = 0.0


@dataclass(eq=False, slots=True)
class Flow:
    """The waiting jobs of one key, in their order."""

    key_id: str
    weight: int
    deficit: float
    is_new: bool = True
    backlog: float = 0.0
    """The cost of what waits."""
    waiting: deque[Entry] = field(default_factory=deque[Entry])
    rate: DrainRate = field(default_factory=DrainRate)
    """How fast it spends."""


class FairOrder:
    """The jobs of one priority class that wait."""

    def __init__(self, quantum: float = QUANTUM) -> None:
        self._quantum = quantum
        self._flows: dict[str, Flow] = {}
        self._new: deque[Flow] = deque()
        self._old: deque[Flow] = deque()
        self._new_in_a_row = 0
        self._debts: OrderedDict[str, float] = OrderedDict()
        self.new_rate = DrainRate()
        """How fast flows that were empty spend."""
        self.size = 0
        self.backlog = 0.0

    def __len__(self) -> int:
        return self.size

    def flow(self, key_id: str) -> Flow | None:
        """Return a key's flow; None if nothing of it waits."""
        found = self._flows.get(key_id)
        return found if found and found.waiting else None

    def new_flows(self) -> Iterator[Flow]:
        """Yield those that come first, in their order."""
        return (flow for flow in self._new if flow.waiting)

    def flows(self) -> Iterator[Flow]:
        """Yield the flows in which something waits."""
        return (flow for flow in self._flows.values() if flow.waiting)

    def oldest_s(self, now: float) -> float:
        """Return how long that one has waited which has waited longest; 0 if none does."""
        return max((now - flow.waiting[0].since for flow in self.flows()), default=0.0)

    def push(self, entry: Entry) -> None:
        """Let a job wait, from `entry.since` on, behind those of its key."""
        job = entry.job
        flow = self._flows.get(job.key_id)
        if flow is None:
            deficit = self._quantum * job.weight + self._debts.pop(job.key_id, 0.0)
            flow = self._flows[job.key_id] = Flow(job.key_id, job.weight, deficit)
            self._new.append(flow)
        if not flow.waiting:
            flow.rate.note(entry.since, 0.0, True)
        flow.weight = job.weight
        flow.waiting.append(entry)
        flow.backlog += entry.cost
        self.size += 1
        self.backlog += entry.cost

    def remove(self, entry: Entry, now: float) -> None:
        """Forget a job that waits."""
        flow = self._flows[entry.job.key_id]
        flow.waiting.remove(entry)
        flow.rate.note(now, 0.0, bool(flow.waiting))
        self._note_gone(flow, entry)

    def pop(self, now: float, may_start: Callable[[str], bool] | None = None) -> Entry | None:
        """Return the job whose turn it is, which then waits no longer; None if there is none.

        With `may_start`, only keys that it allows; it then looks at the next `MAX_SCAN` flows.
        """
        flow = self._next() if may_start is None else self._allowed(may_start)
        if flow is None:
            return None
        entry = flow.waiting.popleft()
        self._new_in_a_row = self._new_in_a_row + 1 if flow.is_new else 0
        self.new_rate.note(now, entry.cost if flow.is_new else 0.0, self.size > 1)
        flow.deficit -= entry.cost
        flow.rate.note(now, entry.cost, bool(flow.waiting))
        self._note_gone(flow, entry)
        return entry

    def peek(self) -> Entry | None:
        """Return the job whose turn it is, which goes on waiting."""
        flow = self._next()
        return flow.waiting[0] if flow is not None else None

    def charge(self, key_id: str, cost: float) -> None:
        """Correct what a key has spent; below zero it gets something back, as far as it does not gain by it."""
        flow = self._flows.get(key_id)
        if flow is not None:
            flow.deficit = min(flow.deficit - cost, max(flow.deficit, self._quantum * flow.weight))
        elif self.size:
            self._owe(key_id, self._debts.get(key_id, 0.0) - cost)

    def _owe(self, key_id: str, debt: float) -> None:
        self._debts.pop(key_id, None)
        if debt < 0.0:
            self._debts[key_id] = debt
            if len(self._debts) > MAX_DEBTORS:
                self._debts.popitem(last=False)

    def _note_gone(self, flow: Flow, entry: Entry) -> None:
        flow.backlog -= entry.cost
        self.size -= 1
        self.backlog -= entry.cost
        if self.size == 0:
            # Nobody waits, so nobody is deprived: what was is forgotten.
            self.backlog = 0.0
            for kept in (self._flows, self._new, self._old, self._debts):
                kept.clear()

    def _allowed(self, may_start: Callable[[str], bool]) -> Flow | None:
        flows = islice((flow for flow in chain(self._new, self._old) if flow.waiting), MAX_SCAN)
        return next((flow for flow in flows if may_start(flow.key_id)), None)

    def _next(self) -> Flow | None:
        """Return the flow whose turn it is, having given quanta to those before it."""
        if not self.size:
            return None
        turns = 0
        while True:
            turn = self._new if self._new and not (self._old and self._new_in_a_row >= NEW_IN_A_ROW) else self._old
            flow = turn[0]
            if flow.waiting and flow.deficit > 0.0:
                return flow
            turn.popleft()
            if flow.waiting:
                flow.deficit += self._quantum * flow.weight
                flow.is_new = False
                self._old.append(flow)
            elif flow.is_new:
                flow.is_new = False
                self._old.append(flow)
            else:
                del self._flows[flow.key_id]
                self._owe(flow.key_id, min(0.0, flow.deficit))
            turns += 1
            if turns > len(self._old):
                turns = 0
                self._skip_rounds()

    def _skip_rounds(self) -> None:
        """Give the flows at once what they get in the rounds in which none may spend."""
        flows = [flow for flow in self._old if flow.waiting]
        rounds = math.floor(min((-flow.deficit / (self._quantum * flow.weight) for flow in flows), default=0.0))
        if rounds > 0:
            for flow in flows:
                flow.deficit += rounds * self._quantum * flow.weight
