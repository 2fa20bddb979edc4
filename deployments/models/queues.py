"""The queues of one ingress replica in front of its models' engines, one for each deployment."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from deployments.config import ModelBase
from deployments.models.presence import presence
from deployments.models.protocol import Endpoint
from deployments.queueing.gate import Gate
from deployments.queueing.job import Job
from deployments.queueing.leasing import SharedCapacity, Use
from deployments.queueing.queue import Bounds
from deployments.queueing.shares import CapacityStore

Place = tuple[str, str]
"""The names of a model's application and its deployment in Serve."""

WITHOUT_ENGINE: frozenset[Endpoint] = frozenset({"tokenize", "detokenize"})
"""What takes no place in an engine."""

UNBOUNDED = 2**31
TELL_S = 2.0
"""How often the autoscaler hears of what waits."""


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
            if self._shares:
                self._shares.hurry()  # until then it would fill what is others'
        gate.configure(Bounds(bounds.max_waiting, bounds.max_waiting_per_key, bounds.max_wait_s))
        return gate

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
        if self._shares and gate.queue.waiting and self._own(place) < self._capacity(self._models[place], place):
            self._shares.hurry()

    def start(self) -> None:
        """Start who may start, as after a change of the models' replicas."""
        for gate in self._gates.values():
            gate.start()
