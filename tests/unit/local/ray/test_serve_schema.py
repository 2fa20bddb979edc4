"""Serve's own part of the configuration is checked to the last name."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.local.ray.serve_schema import require_room, validated

SHIPPED = Path(__file__).parents[4] / "configs/guide.yaml"


def test_the_shipped_file_passes() -> None:
    assert validated(yaml.safe_load(SHIPPED.read_text())).applications[0].name == "chatllm"


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ([], "bogus"),
        (["http_options"], "http_options.bogus"),
        (["applications", 0], "applications.0.bogus"),
        (["applications", 0, "deployments", 0], "applications.0.deployments.0.bogus"),
        (["applications", 0, "deployments", 0, "ray_actor_options"], "deployments.0.ray_actor_options.bogus"),
        (["applications", 0, "deployments", 1, "autoscaling_config"], "deployments.1.autoscaling_config.bogus"),
    ],
)
def test_an_unknown_name_is_refused_with_its_place(path: list[Any], named: str) -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    document["applications"][0]["deployments"][1] = {"name": "x", "autoscaling_config": {"min_replicas": 1}}
    place = document
    for step in path:
        place = place[step]
    place["bogus"] = 1
    with pytest.raises(ValueError, match=f"{named}: Serve knows no such field"):
        validated(document)


def test_what_is_free_stays_free() -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    document["applications"][0]["runtime_env"] = {"env_vars": {"ANY": "thing"}}
    document["applications"][0]["deployments"][0]["user_config"] = {"any": "thing"}
    validated(document)


def test_a_wrong_value_is_named_in_one_line() -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    document["http_options"]["port"] = "eighty"
    with pytest.raises(ValueError, match=r"http_options\.port: .*integer") as caught:
        validated(document)
    assert "\n" not in str(caught.value)


def scaled(document: dict[str, Any], **options: Any) -> dict[str, Any]:
    document["applications"][0]["deployments"] = [{"name": "x", **options}]
    return document


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"autoscaling_config": {"min_replicas": 3, "max_replicas": 1}},
            r"deployments\.0\.autoscaling_config: .*max_replicas",
        ),
        ({"autoscaling_config": {"target_ongoing_requests": 0}}, r"autoscaling_config\.target_ongoing_requests: "),
        ({"ray_actor_options": {"num_gpus": 1.5}}, r"x\.ray_actor_options\.num_gpus is 1\.5: Ray gives no such amount"),
        ({"ray_actor_options": {"resources": {"TPU": -1}}}, r"x\.ray_actor_options\.resources\.TPU is -1"),
        ({"ray_actor_options": {"num_cpus": -1}}, r"ray_actor_options\.num_cpus: .*greater than or equal to 0"),
    ],
)
def test_impossible_numbers_are_refused_in_one_line_with_their_place(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        validated(scaled(yaml.safe_load(SHIPPED.read_text()), **options))
    assert "\n" not in str(caught.value)


def test_two_deployments_of_one_name_are_refused() -> None:
    document = scaled(yaml.safe_load(SHIPPED.read_text()))
    document["applications"][0]["deployments"] *= 2
    with pytest.raises(ValueError, match="application 'chatllm': deployments: two are called 'x': take one out"):
        validated(document)


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"num_replicas": 5, "ray_actor_options": {"num_cpus": 1}}, "num_cpus 6 together, and this machine has 4"),
        ({"ray_actor_options": {"num_cpus": 64}}, "num_cpus 65 together"),
        ({"ray_actor_options": {"num_gpus": 2}}, "num_gpus 2 together, and this machine has 1"),
        ({"num_replicas": 3, "ray_actor_options": {"num_cpus": 1, "num_gpus": 0.3}}, ""),
        ({"autoscaling_config": {"min_replicas": 0, "max_replicas": 9}, "ray_actor_options": {"num_cpus": 3}}, ""),
    ],
)
def test_what_one_machine_cannot_hold_is_refused(options: dict[str, Any], needed: str) -> None:
    schema = validated(scaled(yaml.safe_load(SHIPPED.read_text()), **options))
    sentence = f"the replicas need {needed}.*ask for less, or for fewer replicas"
    with pytest.raises(ValueError, match=sentence) if needed else nullcontext():
        require_room(schema, cpus=4, gpus=1)
