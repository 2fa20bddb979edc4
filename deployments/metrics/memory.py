"""Figures in memory, with the promises of store.py among the replicas of one process: for tests and trials."""

import time
from collections.abc import Callable, Mapping

from deployments.metrics.store import MAX_REPLICAS, TTL_S, Readings, Receipt, ReplicaFigures, State


class MemoryFigures:
    """The store as a dictionary, with a clock that may differ from the replicas'."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, State, dict[str, bytes]]] = {}

    async def publish(self, replica: str, state: State, places: Mapping[str, bytes], *, is_first: bool) -> Receipt:
        now = self._clock()
        was_known = replica in self._left and self._left[replica][0] > now - TTL_S
        before = self._left[replica][2] if was_known else {}
        self._left[replica] = (now, state, {**before, **places})
        if is_first:
            self._left = {name: left for name, left in self._left.items() if left[0] > now - TTL_S}
        return Receipt(now, was_known)

    async def read(self, since: float) -> Readings:
        now = self._clock()
        alive = [(name, *left) for name, left in self._left.items() if left[0] > now - TTL_S]
        alive.sort(key=lambda left: -left[1])
        found = [
            ReplicaFigures(
                name,
                seen_at,
                state,
                [packed for place, packed in places.items() if place != "faults"],
                places.get("faults", b""),
            )
            for name, seen_at, state, places in alive[:MAX_REPLICAS]
        ]
        return Readings(now, found, len(alive) <= MAX_REPLICAS)

    async def aclose(self) -> None: ...
