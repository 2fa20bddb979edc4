"""configs/kuberay.yaml is what the CRD of KubeRay 1.5 takes, and promises what its comments say."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.api.routes import health
from deployments.config import Timeouts

REPOSITORY = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "rayservice.schema.json").read_text())
DOCUMENTS = list(yaml.safe_load_all((REPOSITORY / "configs/kuberay.yaml").read_text()))
SERVICE = next(document for document in DOCUMENTS if document["kind"] == "RayService")
SPEC = SERVICE["spec"]
CLUSTER = SPEC["rayClusterConfig"]
GROUPS = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}
PODS = [CLUSTER["headGroupSpec"], *GROUPS.values()]
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": (int, float)}


def faults(value: Any, schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """Yield what Kubernetes would refuse or drop: unknown fields, missing ones, wrong types and values."""
    schema = SCHEMA["definitions"][schema["$ref"]] if "$ref" in schema else schema
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    kinds = (int, str) if schema.get("x-kubernetes-int-or-string") else TYPES.get(schema.get("type", ""), object)
    if not isinstance(value, kinds) or (isinstance(value, bool) and schema.get("type") != "boolean"):
        yield f"{at}: {value!r} is no {schema.get('type')}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from faults(one, schema["items"], f"{at}[{number}]")
    elif isinstance(value, dict):
        yield from _faults_inside(value, schema, at)


def _faults_inside(value: dict[str, Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    yield from (f"{at}.{name}: is missing" for name in schema.get("required", []) if name not in value)
    for name, one in value.items():
        if name in known:
            yield from faults(one, known[name], f"{at}.{name}")
        elif isinstance(others, dict):
            yield from faults(one, others, f"{at}.{name}")
        elif known:
            yield f"{at}.{name}: is unknown"


def test_the_service_is_valid() -> None:
    assert list(faults(SERVICE, SCHEMA["root"])) == []


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("rayClusterConfig.gcsFaultTolerance", {}, ".gcsFaultTolerance: is unknown"),
        ("rayClusterConfig.autoscalerOptions.version", "v3", "'v3' is none of"),
        ("upgradeStrategy.clusterUpgradeOptions.stepSizePercent", "10", "'10' is no integer"),
        ("rayClusterConfig.headGroupSpec.template.spec.containers", [{"image": "x"}], ".name: is missing"),
        ("rayClusterConfig.headGroupSpec.template.spec.restart", "Never", ".restart: is unknown"),
    ],
)
def test_what_the_operator_would_refuse_is_found(path: str, value: Any, fault: str) -> None:
    changed = copy.deepcopy(SERVICE)
    *parents, name = path.split(".")
    inside = changed["spec"]
    for parent in parents:
        inside = inside[parent]
    inside[name] = value
    (found,) = faults(changed, SCHEMA["root"])
    assert fault in found


def test_an_upgrade_moves_requests_step_by_step() -> None:
    strategy = SPEC["upgradeStrategy"]
    options = strategy["clusterUpgradeOptions"]
    assert strategy["type"] == "NewClusterWithIncrementalUpgrade"
    # What the operator demands of it: an autoscaler, a gateway, and steps no larger than the surge.
    assert CLUSTER["enableInTreeAutoscaling"] is True and CLUSTER["autoscalerOptions"]["version"] == "v2"
    assert options["gatewayClassName"] and 0 < options["stepSizePercent"] <= options["maxSurgePercent"] <= 100
    assert SPEC["rayClusterDeletionDelaySeconds"] > Timeouts().total_s


def test_a_head_that_falls_comes_back_with_what_it_knew() -> None:
    options = CLUSTER["gcsFaultToleranceOptions"]
    assert options["redisAddress"]
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"]["name"] == "chatllm-gcs"
    for pod in PODS:
        (container,) = pod["template"]["spec"]["containers"]
        assert {"name": "RAY_gcs_rpc_server_reconnect_timeout_s", "value": "600"} in container["env"]
        assert pod["template"]["spec"]["restartPolicy"] == "Never"  # autoscaler v2: a pod is one node


def test_pods_get_requests_once_a_model_can_generate() -> None:
    assert SPEC["excludeHeadPodFromServeSvc"] is True
    paths = {getattr(route, "path", "") for route in health.router.routes}
    for group in GROUPS.values():
        (container,) = group["template"]["spec"]["containers"]
        probe = container["readinessProbe"]
        assert probe["httpGet"] == {"path": "/ready", "port": 8000} and "/ready" in paths
        assert {"name": "serve", "containerPort": 8000} in container["ports"]


def test_each_kind_of_worker_keeps_a_pod_through_maintenance() -> None:
    budgets = [document["spec"] for document in DOCUMENTS if document["kind"] == "PodDisruptionBudget"]
    kept = {budget["selector"]["matchLabels"]["ray.io/group"]: budget for budget in budgets}
    assert kept.keys() == GROUPS.keys()
    for budget in budgets:
        # `maxUnavailable` needs a controller with a scale subresource, which a RayCluster is not.
        assert budget.keys() == {"minAvailable", "selector"} and budget["minAvailable"] == 1
        assert budget["selector"]["matchLabels"]["app"] == "chatllm"
    assert GROUPS["ingress"]["minReplicas"] > kept["ingress"]["minAvailable"]


def test_no_pod_runs_as_root() -> None:
    for pod in PODS:
        context = pod["template"]["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] >= 1000
        mounts = pod["template"]["spec"]["containers"][0].get("volumeMounts", [])
        assert not [mount for mount in mounts if mount["mountPath"].startswith("/root")]
