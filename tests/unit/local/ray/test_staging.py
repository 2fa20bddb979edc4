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
        for application in document["applications"]
        for entry in application["deployments"]
    }


def test_the_engines_get_no_replica_and_all_else_stays() -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    before = copy.deepcopy(document)
    light = without_engines(document)
    assert document == before
    assert replicas(light) == {**replicas(document), "model-guide": 0}
    arguments = [[application.get("args") for application in one["applications"]] for one in (light, document)]
    assert arguments[0] == arguments[1], "or Serve would build it anew"
    validated(light)


def test_an_autoscaled_engine_too() -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    (entry,) = document["applications"][1]["deployments"]
    del entry["num_replicas"]
    entry["autoscaling_config"] = {"min_replicas": 1, "max_replicas": 4}
    assert replicas(without_engines(document))["model-guide"] == 0
    validated(without_engines(document))


def test_an_engine_that_the_file_does_not_scale() -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    del document["applications"][1]["deployments"]
    assert replicas(without_engines(document))["model-guide"] == 0


def test_stand_ins_start_at_once() -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    application = {"args": {"id": "echo", "kind": "scripted"}, "deployments": [{"name": "model-echo"}]}
    document["applications"][1] |= application
    assert without_engines(document) == document
