"""Whether a change is complete while old replicas still finish their answers, which Serve waits for without need.

Serve calls a deployment healthy once its old replicas have ended, and an ingress replica may take a quarter of an hour
to finish what its clients read.
"""

import time
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from deployments.local.apply.plan import Change

HEALTHY, STOPPING = "HEALTHY", "STOPPING"
SETTLED_S = 2.0
"""For how long it must be so: Serve begins with a change a moment after it has taken it."""


class Completed:
    """Judges by what Serve tells of replicas, again and again."""

    def __init__(self, before: Container[str], clock: Callable[[], float] = time.monotonic) -> None:
        """`before` are the ids of the replicas that ran when the change was deployed."""
        self._before = before
        self._clock = clock
        self._since: dict[str, float] = {}

    def is_true_of(self, change: Change, deployments: Mapping[str, Mapping[str, Any]], is_running: bool) -> bool:
        """Whether only old replicas are waited for, as for a while now; `is_running`: whether Serve waits for none.

        Serve calls an application running for a moment after it was told to change it.
        """
        if not deployments or any(self._is_behind(name, one, change) for name, one in deployments.items()):
            self._since.pop(change.application, None)
            return False
        if is_running:
            return True
        if not all(map(_is_whole, deployments.values())):
            self._since.pop(change.application, None)
            return False
        return self._clock() - self._since.setdefault(change.application, self._clock()) >= SETTLED_S

    def _is_behind(self, name: str, deployment: Mapping[str, Any], change: Change) -> bool:
        """Whether a replica that is to be replaced still takes requests, or no new one is there yet."""
        if not _is_replaced(name, change) or not deployment["target_num_replicas"]:
            return False
        staying = _staying(deployment)
        return not staying or any(one["replica_id"] in self._before for one in staying)


def _is_whole(deployment: Mapping[str, Any]) -> bool:
    staying = _staying(deployment)
    is_complete = len(staying) == deployment["target_num_replicas"]
    return deployment.get("status") == HEALTHY or (
        is_complete and all(one.get("state") == "RUNNING" for one in staying)
    )


def _staying(deployment: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [one for one in replicas_of(deployment) if one.get("state") != STOPPING]


def _is_replaced(name: str, change: Change) -> bool:
    return change.kind == "restart" and (not change.replaced or name in change.replaced)


def replicas_of(deployment: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what Serve tells of a deployment's replicas."""
    return deployment.get("replicas") or ()
