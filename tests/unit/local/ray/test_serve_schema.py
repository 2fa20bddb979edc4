"""Serve's own part of the configuration is checked to the last name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.local.ray.serve_schema import validated

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
