"""Serve's router for model replicas, made observable: who can answer right now.

Serve tells a handle's router about every change of the deployment's replicas;
this class passes the count on to whoever holds the handle, so that a request can
be refused at once while no replica is there, instead of waiting in a queue.
Serve builds the router itself, hence the registry in presence.py.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

from deployments.infra.ray import router as ray_router
from deployments.infra.ray.router import PendingRequest, PowerOfTwoChoicesRequestRouter, RunningReplica
from deployments.models.affinity import preferred
from deployments.models.presence import Presence, presence
from deployments.models.protocol import ModelRequest

ADAPTERS, SLOTS = "adapters", "slots"
"""Under these keys replicas report to the routers which adapters they hold, and how many sequences they run at once."""


class ObservedRouter(PowerOfTwoChoicesRequestRouter):
    """Power of two choices, after the replica that knows the prompt's beginning and those that hold its adapter.

    And a note of how many replicas there are.

    Requests beyond what the replicas take (`max_ongoing_requests`) wait here. Serve looks for a free place again and
    again, up to half a second apart, in two tasks for each replica: a full replica then gets 4 requests a second at
    most, however many it has ended meanwhile. Here each request that ends lets one of these tasks look at once; the
    pauses are left for the places that other ingress replicas free, which this one does not hear of.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waiting_for_room: deque[asyncio.Future[None]] = deque()

    async def _backoff(self, attempt: int) -> None:
        """Wait until a request of this ingress replica has ended, or as long as Serve would."""
        ended = asyncio.get_running_loop().create_future()
        self._waiting_for_room.append(ended)
        try:
            await asyncio.wait((ended,), timeout=self._compute_backoff_s(attempt))
        finally:
            if not ended.done():
                self._waiting_for_room.remove(ended)
            ended.cancel()

    def decrement_queue_len_cache(self, replica_id: Any) -> None:
        super().decrement_queue_len_cache(replica_id)
        if self._waiting_for_room:
            self._waiting_for_room.popleft().set_result(None)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replicas to try, the best first: one that must load an adapter takes its requests only if it must.

        What replicas hold is known a few seconds late, and only in part: those that do not hold it can load it.
        """
        others = await super().choose_replicas(candidate_replicas, pending_request)
        key = adapter_key(pending_request)
        holding = [replica for replica in self.curr_replicas.values() if key in held_by(replica)] if key else []
        if holding:
            others = [random.sample(holding, min(2, len(holding))), *others]
        knows = self._knows_head(head_of(pending_request), holding or candidate_replicas)
        return [[knows], *others] if knows else others

    def _knows_head(self, head: bytes, replicas: list[RunningReplica]) -> RunningReplica | None:
        """Return the replica that has probably read a prompt's beginning before, unless it has too much to do."""
        if not head or len(replicas) < 2:
            return None
        loads = {one.replica_id.unique_id: self.replica_queue_len_cache.get(one.replica_id) or 0 for one in replicas}
        return preferred(head, {one.replica_id.unique_id: one for one in replicas}, loads)

    def create_replica_wrapper(self, replica_info: Any) -> RunningReplica:
        # Looked for here: what this module's text names itself must be there in an ingress of the version before, too.
        return getattr(ray_router, "ReachableReplica", RunningReplica)(replica_info)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        seen = self._presence()
        seen.note(len(replicas))
        # Serve brings this module's newest text to an ingress of the version before, which knows of no places.
        if hasattr(seen, "places"):
            seen.places = tuple(map(places_of, replicas))
        super().update_replicas(replicas)

    def on_replica_actor_died(self, replica_id: object) -> None:
        super().on_replica_actor_died(replica_id)  # type: ignore[arg-type]
        self._presence().note(len(self.curr_replicas))

    def _presence(self) -> Presence:
        return presence(self._deployment_id.app_name, self._deployment_id.name)


def adapter_key(pending: PendingRequest | None) -> str:
    """Return what names the adapter that a request is for, "" where it is for none."""
    first = pending.args[0] if pending is not None and pending.args else None
    return first.adapter.key if isinstance(first, ModelRequest) and first.adapter else ""


def head_of(pending: PendingRequest | None) -> bytes:
    """Return what the prompts of the request's conversation have in common, b"" where nothing is known of that."""
    first = pending.args[0] if pending is not None and pending.args else None
    # Serve brings this module's newest text to an ingress of the version before, whose requests have no head.
    return getattr(first, "head", b"") if isinstance(first, ModelRequest) else b""


def places_of(replica: RunningReplica) -> tuple[int, int]:
    """Return how many sequences a replica said that it runs at once, 0 if it has not yet, and what Serve gives it."""
    return int((replica.routing_stats or {}).get(SLOTS) or 0), replica.max_ongoing_requests


def held_by(replica: RunningReplica) -> Sequence[str]:
    """Return the adapters that a replica reported last."""
    return (replica.routing_stats or {}).get(ADAPTERS) or ()
