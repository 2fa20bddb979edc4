"""One cluster for all tests of this folder."""

import os
from collections.abc import Generator
from typing import Any

import pytest

from tests.cluster.namespaces import Machine, missing
from tests.cluster.ray_cluster import RayCluster, ray_cluster


def deployment(name: str, replicas: int, resources: dict[str, float] | None = None) -> dict[str, Any]:
    """No node has all replicas of those that have several."""
    options = {"num_cpus": 0.1, **({"resources": resources} if resources else {})}
    placed = {"max_replicas_per_node": replicas - 1} if replicas > 1 else {}
    return {"name": name, "num_replicas": replicas, "ray_actor_options": options, **placed}


def model(identifier: str, replicas: int, resources: dict[str, float] | None = None) -> dict[str, Any]:
    return {
        "name": f"model-{identifier}",
        "import_path": "deployments.app:build_model",
        "route_prefix": None,
        "args": {"id": identifier, "kind": "scripted", "tokens": 16, "token_ms": 10},
        "deployments": [deployment(f"model-{identifier}", replicas, resources)],
    }


def document(workers: list[Machine]) -> dict[str, Any]:
    """Two models: `shared` has replicas on two nodes, `steady` one on the last node, which no test breaks."""
    chatllm = {
        "name": "chatllm",
        "import_path": "tests.cluster.app:build_app",
        "route_prefix": "/",
        "args": {},
        "deployments": [deployment("Ingress", 3), deployment("CacheLookup", 2)],
    }
    models = [model("shared", 2), model("steady", 1, {workers[-1].name: 1})]
    return {"proxy_location": "EveryNode", "http_options": {"host": "0.0.0.0"}, "applications": [chatllm, *models]}


@pytest.fixture(scope="session")
def cluster() -> Generator[RayCluster]:
    """A head and three workers, with Postgres and Valkey on a machine beside them."""
    if lacking := missing():
        if os.environ.get("CHATLLM_REQUIRE_NAMESPACES") == "1":
            pytest.fail(f"needs {lacking}")
        pytest.skip(f"needs {lacking}")
    with ray_cluster(document) as running:
        yield running
