"""The applications of a service file: both forms mean the same, and what is wrong is told with its place."""

import copy
from typing import Any

import pytest

from deployments.local.service_document import is_single, main_application, scale_by_load, settings_of, taken_apart
from deployments.models.scaling import AUTOSCALER

Document = dict[str, Any]


def single() -> Document:
    models = [{"id": "one", "kind": "scripted"}, {"id": "org/two", "kind": "scripted", "tokens": 5}]
    deployments = [{"name": "Ingress"}, {"name": "model-org--two", "num_replicas": 3}]
    main = {"import_path": "deployments.app:build_app", "args": {"models": models, "aliases": {"x": "one"}}}
    return {"applications": [main | {"deployments": deployments}]}


def apart() -> Document:
    document = single()
    taken_apart(document)
    return document


def ingress(document: Document) -> Document:
    return main_application(document)["deployments"][0]


def test_a_file_of_the_earlier_form_means_the_same_when_it_is_taken_apart() -> None:
    document = apart()
    assert (is_single(single()), is_single(document)) == (True, False)
    assert settings_of(document) == settings_of(single())
    assert [one["name"] for one in document["applications"]] == ["chatllm", "model-one", "model-org--two"]
    assert [one.get("deployments") for one in document["applications"]] == [
        [{"name": "Ingress"}],
        None,
        [{"name": "model-org--two", "num_replicas": 3}],
    ]


def test_models_of_the_earlier_form_keep_the_log_level_that_held_for_all() -> None:
    document = single()
    document["applications"][0]["args"]["log_level"] = "DEBUG"
    document["applications"][0]["deployments"][1]["user_config"] = {"log_level": "ERROR"}
    taken_apart(document)
    assert [one["deployments"] for one in document["applications"][1:]] == [
        [{"name": "model-one", "user_config": {"log_level": "DEBUG"}}],
        [{"name": "model-org--two", "num_replicas": 3, "user_config": {"log_level": "ERROR"}}],
    ]
    assert settings_of(document).log_level == "DEBUG"


def test_what_stands_in_user_config_counts() -> None:
    document = apart()
    ingress(document)["user_config"] = {"aliases": {"y": "org/two"}, "models": {"one": {"fallback": ["org/two"]}}}
    settings = settings_of(document)
    assert (settings.aliases, settings.models[0].fallback) == ({"y": "org/two"}, ("org/two",))


@pytest.mark.parametrize(
    ("at", "change", "sentence"),
    [
        (0, {"user_config": {"history": {}}}, r"user_config of Ingress\.history: Extra inputs"),
        (0, {"user_config": {"models": {"three": {}}}}, r"models\.three: there is no such model"),
        (0, {"user_config": {"aliases": {"y": "three"}}}, "alias 'y' must be a new name for one of"),
        (2, {"user_config": {"log_level": "LOUD"}}, r"user_config of model-org--two\.log_level"),
        (2, {"user_config": {"target_ttft_s": -1}}, r"user_config of model-org--two\.target_ttft_s: .*greater than 0"),
        (2, {"user_config": {"target_ttft": 1}}, r"user_config of model-org--two\.target_ttft: Extra inputs"),
        (2, {"name": "model-two"}, "its only one is called 'model-org--two', not 'model-two'"),
    ],
)
def test_a_deployment_that_is_wrong_is_told_with_its_place(at: int, change: Document, sentence: str) -> None:
    document = apart()
    document["applications"][at]["deployments"][0] |= change
    with pytest.raises(ValueError, match=sentence):
        settings_of(document)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"args": {"id": "one", "kind": "scripted", "tokens": 0}}, r"'model-one': args\.scripted\.tokens"),
        ({"args": {"id": "org/two", "kind": "scripted"}}, "model ids must be unique"),
        ({"route_prefix": "/one"}, "`route_prefix` must be null"),
        ({"name": "chatllm"}, "two applications are called 'chatllm'"),
        ({"import_path": "deployments.app:build_app"}, "exactly one application of ingress and cache"),
    ],
)
def test_an_application_that_is_wrong_is_told_with_its_place(change: Document, sentence: str) -> None:
    document = copy.deepcopy(apart())
    document["applications"][1] |= change
    with pytest.raises(ValueError, match=sentence):
        settings_of(document)


VLLM: dict[str, Any] = {"id": "guide", "kind": "vllm", "engine": {"model": "demo_model/weights"}}


def scaled(arguments: dict[str, Any], **scaling: Any) -> dict[str, Any]:
    """Return what is deployed of an application whose model scales."""
    name = f"model-{arguments['id']}"
    application = {
        "args": arguments,
        "deployments": [{"name": name, "autoscaling_config": {"max_replicas": 4, **scaling}}],
    }
    scale_by_load(application)
    return application["deployments"][0]["autoscaling_config"]


def test_a_vllm_model_scales_by_its_load_unless_the_file_names_another_policy() -> None:
    assert scaled(VLLM)["policy"] == {"policy_function": AUTOSCALER}
    serves = {"policy_function": "ray.serve.autoscaling_policy:default_autoscaling_policy"}
    assert scaled(VLLM, policy=serves)["policy"] == serves
    assert "policy" not in scaled({"id": "script", "kind": "scripted"})


def test_a_model_that_pools_keeps_the_policy_of_serve() -> None:
    assert "policy" not in scaled({**VLLM, "engine": {**VLLM["engine"], "runner": "pooling"}})


def test_a_model_without_bounds_keeps_its_number_of_replicas() -> None:
    application: dict[str, Any] = {"args": VLLM, "deployments": [{"name": "model-guide", "num_replicas": 2}]}
    scale_by_load(application)
    assert application["deployments"] == [{"name": "model-guide", "num_replicas": 2}]
