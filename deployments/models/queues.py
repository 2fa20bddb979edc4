"""The queues of one ingress replica in front of its models' engines, one for each deployment."""

import time
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext

from deployments.config import ModelBase
from deployments.metrics.queues import QueueMetrics, Queues, Waiting
from deployments.models.presence import presence
from deployments.models.protocol import Endpoint
from deployments.queueing.gate import Gate
from deployments.queueing.job import PRIORITIES, Job, Priority, Refusal
from deployments.queueing.leasing import SharedCapacity, Use
from deployments.queueing.queue import Bounds
from deployments.queueing.shares import CapacityStore

Place = tuple[str, str]
"""The names of a model's application and its deployment in Serve."""

WITHOUT_ENGINE: frozenset[Endpoint] = frozenset({"tokenize", "detokenize"})
"""What takes no place in an engine."""

UNBOUNDED = 2**31
TELL_S = 2.0
"""How often the autoscaler is told what waits."""
SHOW_S = 1.0
"""How often the metrics do."""


def _name(place: Place) -> str:
    return "/".join(place)


def capacity(model: ModelBase, place: Place) -> int:
    """Return how many sequences the running replicas of a model hold, as they report it; until then, as it is set."""
    seen = presence(*place)
    if not seen.places:
        return (model.queued_above or UNBOUNDED) * max(1, seen.replicas or 1)
    return max(1, sum(min(slots or model.queued_above or UNBOUNDED, at_once) for slots, at_once in seen.places))


class ModelQueues:
    """Lets requests to models, in their order."""

    def __init__(
        self,
        capacity: Callable[[ModelBase, Place], int],
        tell: Callable[[Place, int], None] = lambda place, waiting: None,
    ) -> None:
        """`capacity` returns how many sequences this process may have in the engines of a model.

        `tell` is called every `TELL_S` with how many wait for a model, while some do, and once none does any more.
        """
        self._tell = tell
        self._capacity = capacity
        self._gates: dict[Place, Gate] = {}
        self._models: dict[Place, ModelBase] = {}
        self._shares: SharedCapacity | None = None
        self._reported: dict[Place, tuple[int, float]] = {}
        self._metrics = QueueMetrics()
        self._shown_at: dict[Place, float] = {}

    def admitted(
        self, model: ModelBase, place: Place, endpoint: Endpoint, job: Job | None
    ) -> AbstractAsyncContextManager[None]:
        """Wait for the job's turn at a model, and keep its places until the end of the block; see `Gate.admitted`."""
        if endpoint in WITHOUT_ENGINE:
            return nullcontext()
        return self.gate(model, place).admitted(job or Job())

    def gate(self, model: ModelBase, place: Place) -> Gate:
        """Return the queue of a model, with the bounds that hold now."""
        gate, bounds, self._models[place] = self._gates.get(place), model.queue, model
        if gate is None:
            gate = self._gates[place] = Gate(lambda: self._own(place))
            gate.changed = lambda: self._changed(place)
            gate.queue.refused = lambda priority, reason: self._refused(place, priority, reason)
            self._show(place, time.monotonic())  # a queue that never had anything in it is one, too
            if self._shares:
                self._shares.hurry()  # until then it would fill what is others'
        gate.configure(Bounds(bounds.max_waiting, bounds.max_waiting_per_key, bounds.max_wait_s))
        return gate

    def keep(self, places: Collection[Place]) -> None:
        """Forget the queues of other models than these; one that requests are still in stays until the next time."""
        for place, gate in list(self._gates.items()):
            if place in places or gate.queue.wanted:
                continue
            self._show(place, time.monotonic())
            for known in (self._gates, self._models, self._shown_at):
                del known[place]
            self._reported.pop(place, None)

    def waiting(self) -> Queues:
        """Return what waits now; one of a model whose settings are gone is told by the id that it had."""
        now = time.monotonic()
        return {self._models[place].id: self._waiting(gate, now) for place, gate in self._gates.items()}

    async def share(self, store: CapacityStore) -> None:
        """From now on fill only this process's share of each model, which `store` tells all ingress replicas."""
        self._shares = SharedCapacity(store, self._use, self.start)
        await self._shares.open()

    async def aclose(self) -> None:
        """Give the shares back."""
        if self._shares is not None:
            await self._shares.aclose()

    def _own(self, place: Place) -> int:
        capacity = self._capacity(self._models[place], place)
        return self._shares.of(_name(place), capacity) if self._shares else capacity

    def _use(self) -> dict[str, Use]:
        return {
            _name(place): Use(self._capacity(self._models[place], place), gate.queue.wanted, gate.queue.slots.running)
            for place, gate in self._gates.items()
        }

    def _changed(self, place: Place) -> None:
        gate = self._gates[place]
        waiting, (reported, at), now = gate.queue.waiting, self._reported.get(place, (0, 0.0)), time.monotonic()
        if (waiting and now - at >= TELL_S) or (reported and not waiting):
            self._reported[place] = waiting, now
            self._tell(place, waiting)
        if not waiting or now - self._shown_at[place] >= SHOW_S:
            self._show(place, now)
        if self._shares and gate.queue.waiting and self._own(place) < self._capacity(self._models[place], place):
            self._shares.hurry()

    def _show(self, place: Place, now: float) -> None:
        self._shown_at[place] = now
        for priority, waiting in self._waiting(self._gates[place], now).items():
            self._metrics.tell(self._models[place].id, priority, waiting)

    def _waiting(self, gate: Gate, now: float) -> dict[str, Waiting]:
        orders = {priority: gate.queue.orders[priority] for priority in PRIORITIES}
        return {name: Waiting(order.size, order.backlog, order.oldest_s(now)) for name, order in orders.items()}

    def _refused(self, place: Place, priority: Priority, reason: Refusal) -> None:
        self._metrics.count_refusal(self._models[place].id, priority, reason)

    def start(self) -> None:
        """Start who may start, as after a change of the models' replicas."""
        for gate in self._gates.values():
            gate.start()
