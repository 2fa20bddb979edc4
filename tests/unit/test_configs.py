"""Every file of configs/, and the one that is deployed by default, says what the service understands."""

import dataclasses
import inspect
import json
import re
import runpy
from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from deployments.config import Settings, VLLMModel
from deployments.local.service_document import MODEL_PATH, settings_of
from docs.generate import metrics

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "configs"
SERVE_FILES = [
    REPOSITORY / "serve_config.yaml",
    *(CONFIGS / f"{name}.yaml" for name in ("embeddings", "guide", "laptop", "one_gpu", "providers", "speech")),
]
CLUSTER_FILE, PROMETHEUS_FILE, RULES_FILE = (
    CONFIGS / name for name in ("kuberay.yaml", "prometheus.yml", "prometheus_rules.yml")
)


def ray_service() -> dict:
    documents = list(yaml.safe_load_all(CLUSTER_FILE.read_text()))
    return next(document for document in documents if document["kind"] == "RayService")


def serve_documents() -> list:
    plain = [pytest.param(yaml.safe_load(file.read_text()), id=file.name) for file in SERVE_FILES]
    return [*plain, pytest.param(yaml.safe_load(ray_service()["spec"]["serveConfigV2"]), id=CLUSTER_FILE.name)]


def test_no_file_is_left_out():
    known = {*SERVE_FILES, CLUSTER_FILE, PROMETHEUS_FILE, RULES_FILE}
    assert {file for file in CONFIGS.glob("*") if file.is_file()} == {f for f in known if f.parent == CONFIGS}


@pytest.mark.parametrize("document", serve_documents())
def test_ray_serve_accepts_the_document(document):
    ServeDeploySchema.model_validate(document)


@pytest.mark.parametrize("document", serve_documents())
def test_the_arguments_are_settings_and_the_deployments_exist(document):
    main, *models = document["applications"]
    assert (main["name"], main["import_path"], main["route_prefix"]) == ("chatllm", "deployments.app:build_app", "/")
    assert {deployment["name"] for deployment in main["deployments"]} == {"Ingress", "CacheLookup"}
    served = settings_of(document).models
    for application, model in zip(models, served, strict=True):
        (placed,) = application["deployments"]
        assert application["name"] == placed["name"] == model.deployment
        assert (application["import_path"], application["route_prefix"]) == (MODEL_PATH, None)


@pytest.mark.parametrize("document", serve_documents())
def test_no_file_holds_an_address_of_a_store(document):
    assert not re.search(r"(postgres(ql)?|rediss?)://", yaml.safe_dump(document))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # importing vLLM and torch warns of much that is not ours
@pytest.mark.parametrize("document", serve_documents())
def test_vllm_knows_every_option(document):
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat

    fields = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    options = inspect.signature(OpenAIServingChat).parameters
    for model in settings_of(document).models:
        if isinstance(model, VLLMModel):
            assert model.engine.keys() <= fields
            assert model.chat.keys() <= options.keys()


def test_the_cluster_sets_what_ray_must_know_before_it_starts():
    cluster = ray_service()["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == environment["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
        assert container["envFrom"] == [{"secretRef": {"name": "chatllm-stores"}}]
        assert group["template"]["metadata"]["labels"] == {"app": "chatllm"}


def test_the_cluster_has_room_for_the_largest_number_of_replicas():
    cluster = ray_service()["spec"]["rayClusterConfig"]
    gpus = sum(
        int(group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0))
        * group["maxReplicas"]
        for group in cluster["workerGroupSpecs"]
    )
    document = yaml.safe_load(ray_service()["spec"]["serveConfigV2"])
    wanted = [
        deployment["autoscaling_config"]["max_replicas"] * deployment["ray_actor_options"]["num_gpus"]
        for application in document["applications"]
        for deployment in application["deployments"]
        if "num_gpus" in deployment["ray_actor_options"]
    ]
    assert sum(wanted) == gpus


def test_only_the_api_is_open_to_everyone():
    documents = yaml.safe_load_all(CLUSTER_FILE.read_text())
    policy = next(document for document in documents if document["kind"] == "NetworkPolicy")["spec"]
    assert policy["podSelector"] == {"matchLabels": {"app": "chatllm"}}
    assert [rule["ports"] for rule in policy["ingress"] if "from" not in rule] == [[{"port": 8000}]]


def test_prometheus_finds_ray_through_the_dashboard():
    (job,) = yaml.safe_load(PROMETHEUS_FILE.read_text())["scrape_configs"]
    assert job["http_sd_configs"][0]["url"].endswith("/api/prometheus/sd")


def dashboards() -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((CONFIGS / "grafana").glob("*.json"))}


def test_the_dashboards_are_what_their_program_makes(monkeypatch):
    monkeypatch.syspath_prepend(CONFIGS / "grafana")
    made = runpy.run_path(str(CONFIGS / "grafana/make.py"))
    assert dashboards().keys() == made["DASHBOARDS"].keys()
    for name in made["DASHBOARDS"]:
        assert (CONFIGS / f"grafana/{name}.json").read_text() == made["text"](name), "run configs/grafana/make.py"


def test_the_dashboards_show_every_metric_of_the_service_and_no_other():
    panels = [panel for dashboard in dashboards().values() for panel in dashboard["panels"]]
    asked = " ".join(target["expr"] for panel in panels for target in panel.get("targets", []))
    asked += RULES_FILE.read_text()
    shown = {re.sub("_(bucket|count|sum)$", "", name) for name in re.findall(r"ray_chatllm_\w+", asked)}
    assert shown == {f"ray_{metric.name}" for metric in metrics.found()}


def test_the_dashboards_panels_do_not_overlap():
    for dashboard in dashboards().values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
            taken |= cells


@pytest.mark.parametrize(
    ("models", "key_limits", "at_once"),
    [
        ([{}], {}, 64),
        ([{"max_num_seqs": 256}], {}, 128),
        ([{"max_num_seqs": 256}, {"max_num_seqs": 9}], {}, 4),
        ([{"max_num_seqs": 1}], {}, 1),
        ([{}], {"concurrent_requests": 500}, 500),
        ([{}], {"concurrent_requests": 0}, None),
    ],
)
def test_a_key_without_limits_leaves_half_of_the_smallest_engine(
    models: list[dict[str, int]], key_limits: dict[str, int], at_once: int | None
) -> None:
    served = [{"id": f"m{at}", "engine": {"model": "x", **engine}, "kind": "vllm"} for at, engine in enumerate(models)]
    settings = Settings.model_validate({"models": served, "key_limits": key_limits})
    assert settings.default_concurrent_requests == at_once
