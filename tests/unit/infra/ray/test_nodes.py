"""The nodes of the cluster, as the operations page shows them."""

import ray

from deployments.infra.ray import nodes
from deployments.infra.ray.nodes import MAX_LOST, Node


def told(name: str, is_alive: bool = True, **resources: float) -> dict[str, object]:
    found = {"NodeID": f"id-{name}", "NodeManagerHostname": name, "NodeManagerAddress": "10.0.0.1", "Alive": is_alive}
    return {**found, "Resources": resources, "DeathReasonMessage": None if is_alive else "lost its power"}


def test_the_head_is_first_and_of_many_that_are_gone_the_last_few_are_named(monkeypatch) -> None:
    alive = [told("w2", CPU=8.0, GPU=2.0, memory=2.0**34), told("w1"), told("h", **{"node:__internal_head__": 1.0})]
    gone = [told(f"gone-{n}", False) for n in range(30)]
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: [*gone, *alive])
    found = nodes._read()
    assert [node.name for node in found] == ["h", "w1", "w2", *(f"gone-{n}" for n in range(30 - MAX_LOST, 30))]
    assert found[2] == Node("id-w2", "w2", "10.0.0.1", False, True, 8.0, 2.0, 2**34, "")
    assert found[0].is_head and found[-1].lost_because == "lost its power"


def test_without_ray_there_are_none() -> None:
    assert not ray.is_initialized()
    assert nodes._read() == ()
