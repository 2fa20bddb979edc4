"""The nodes of the Ray cluster, as its head knows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from deployments.infra.threads import KeptAnswer

TIMEOUT_S = 2.0
MAX_LOST = 10
"""Of the nodes that are gone, Ray names up to a thousand."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node and what it offers; `lost_because` says why it is gone, if it is."""

    id: str
    name: str
    address: str
    is_head: bool
    is_alive: bool
    cpus: float
    gpus: float
    memory_bytes: int
    lost_because: str


_kept = KeptAnswer[Sequence[Node]]("nodes of the cluster", ())


async def nodes() -> Sequence[Node]:
    """Return the nodes, the head first and those that are gone last; what was known if the head is silent for 2 s."""
    return await _kept.of(_read, TIMEOUT_S)


def _read() -> Sequence[Node]:
    if not ray.is_initialized():
        return ()
    return ordered([_node(found) for found in ray.nodes()])


def ordered(found: Sequence[Node]) -> Sequence[Node]:
    """Return the nodes as they are shown."""
    alive = sorted((node for node in found if node.is_alive), key=lambda node: (not node.is_head, node.name, node.id))
    return [*alive, *[node for node in found if not node.is_alive][-MAX_LOST:]]


def _node(found: dict[str, Any]) -> Node:
    resources: dict[str, float] = found.get("Resources") or {}
    return Node(
        id=str(found["NodeID"]),
        name=str(found.get("NodeManagerHostname") or ""),
        address=str(found.get("NodeManagerAddress") or ""),
        is_head="node:__internal_head__" in resources,
        is_alive=bool(found.get("Alive")),
        cpus=float(resources.get("CPU", 0.0)),
        gpus=float(resources.get("GPU", 0.0)),
        memory_bytes=int(resources.get("memory", 0)),
        lost_because=str(found.get("DeathReasonMessage") or ""),
    )
