"""Serve's router for model replicas, made observable: who can answer right now.

Serve tells a handle's router about every change of the deployment's replicas;
this class passes the count on to whoever holds the handle, so that a request can
be refused at once while no replica is there, instead of waiting in a queue.
Serve builds the router itself, hence the registry in this module.
"""

import time
from dataclasses import dataclass, field

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve._private.request_router.replica_wrapper import RunningReplica


@dataclass(slots=True)
class Presence:
    """How many replicas of a deployment are running, as this process knows it."""

    replicas: int | None = None
    """None until Serve has built the router, which it may put off until the first request."""
    since: float = field(default_factory=time.monotonic)
    """When the number last left or reached zero (monotonic seconds)."""

    def note(self, replicas: int) -> None:
        if bool(replicas) != bool(self.replicas):
            self.since = time.monotonic()
        self.replicas = replicas


_presence: dict[str, Presence] = {}


def presence(deployment: str) -> Presence:
    """Return the live record of a deployment, by its name."""
    return _presence.setdefault(deployment, Presence())


class ObservedRouter(PowerOfTwoChoicesRequestRouter):
    """Power of two choices, and a note of how many replicas there are."""

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        presence(self._deployment_id.name).note(len(replicas))
        super().update_replicas(replicas)

    def on_replica_actor_died(self, replica_id: object) -> None:
        super().on_replica_actor_died(replica_id)  # type: ignore[arg-type]
        presence(self._deployment_id.name).note(len(self.curr_replicas))
