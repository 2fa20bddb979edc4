"""Serve's router for model replicas, made observable: who can answer right now.

Serve tells a handle's router about every change of the deployment's replicas;
this class passes the count on to whoever holds the handle, so that a request can
be refused at once while no replica is there, instead of waiting in a queue.
Serve builds the router itself, hence the registry in presence.py.
"""

import random
from collections.abc import Sequence

from deployments.infra.ray.router import PendingRequest, PowerOfTwoChoicesRequestRouter, RunningReplica
from deployments.models.presence import Presence, presence
from deployments.models.protocol import ModelRequest

ADAPTERS = "adapters"
"""The key under which replicas report the adapters that they hold to the routers."""


class ObservedRouter(PowerOfTwoChoicesRequestRouter):
    """Power of two choices, among those first that hold the request's adapter, and a note of how many there are."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replicas to try, the best first: one that must load an adapter takes its requests only if it must.

        What replicas hold is known a few seconds late, and only in part: those that do not hold it can load it.
        """
        others = await super().choose_replicas(candidate_replicas, pending_request)
        key = adapter_key(pending_request)
        holding = [replica for replica in self.curr_replicas.values() if key in held_by(replica)] if key else []
        return [random.sample(holding, min(2, len(holding))), *others] if holding else others

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        self._presence().note(len(replicas))
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


def held_by(replica: RunningReplica) -> Sequence[str]:
    """Return the adapters that a replica reported last."""
    return (replica.routing_stats or {}).get(ADAPTERS) or ()
