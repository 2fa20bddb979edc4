"""The first of the two deployments has everything but the engines."""

import copy
from pathlib import Path
from typing import Any

import yaml

from deployments.local.ray.serve_schema import validated
from deployments.local.ray.staging import without_engines

SHIPPED = Path(__file__).parents[4] / "configs/guide.yaml"


def replicas(document: dict[str, Any]) -> dict[str, Any]:
    """Return with how many replicas each deployment starts."""
    return {
        entry["name"]: entry.get("autoscaling_config", {}).get("initial_replicas", entry.get("num_replicas"))
        for entry in document["applications"][0]["deployments"]
    }


def test_the_engines_get_no_replica_and_all_else_stays() -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    before = copy.deepcopy(document)
    light = without_engines(document)
    assert document == before
    assert replicas(light) == {**replicas(document), "model-guide": 0}
    assert light["applications"][0]["args"] == document["applications"][0]["args"], "or Serve would build it anew"
    validated(light)


def test_an_autoscaled_engine_too() -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    entry = next(d for d in document["applications"][0]["deployments"] if d["name"] == "model-guide")
    del entry["num_replicas"]
    entry["autoscaling_config"] = {"min_replicas": 1, "max_replicas": 4}
    assert replicas(without_engines(document))["model-guide"] == 0
    validated(without_engines(document))


def test_an_engine_that_the_file_does_not_scale() -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    del document["applications"][0]["deployments"]
    assert replicas(without_engines(document)) == {"model-guide": 0}


def test_stand_ins_start_at_once() -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    document["applications"][0]["args"]["models"] = [{"id": "echo", "kind": "scripted"}]
    document["applications"][0]["deployments"] = [{"name": "Ingress"}, {"name": "model-echo", "num_replicas": 2}]
    assert without_engines(document) == document
