"""Serve's part of the configuration, checked more strictly than Serve does.

Serve drops every name that it does not know without a word, so that
`num_replica: 4` would be one replica.
"""

from collections.abc import Iterator
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import DeploymentSchema, RayActorOptionsSchema, ServeDeploySchema

from deployments.config import first_problem


def validated(document: dict[str, Any]) -> ServeDeploySchema:
    """Return the document as Serve understands it; ValueError names the first field that is wrong or unknown."""
    try:
        schema = ServeDeploySchema.model_validate(document)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    for field in _unknown(document, schema):
        raise ValueError(f"{field}: Serve knows no such field")
    for problem in _impossible(schema):
        raise ValueError(problem)
    return schema


def _impossible(schema: ServeDeploySchema) -> Iterator[str]:
    """Yield what Serve takes although nothing can come of it: it would wait for resources, or drop a part silently."""
    for application in schema.applications:
        place = f"application {application.name!r}: deployments"
        names = [deployment.name for deployment in application.deployments]
        if twice := [name for name in names if names.count(name) > 1]:
            yield f"{place}: two are called {twice[0]!r}: take one out"
        for deployment in application.deployments:
            for name, amount in _amounts(deployment):
                if amount < 0 or (name == "num_gpus" and amount > 1 and amount != int(amount)):
                    yield f"{place}: {deployment.name}.ray_actor_options.{name} is {amount:g}: Ray gives no such amount"


def _amounts(deployment: DeploymentSchema) -> Iterator[tuple[str, float]]:
    options: Any = deployment.ray_actor_options
    if not isinstance(options, RayActorOptionsSchema):
        return
    yield from ((name, getattr(options, name) or 0) for name in ("num_cpus", "num_gpus"))
    yield from ((f"resources.{name}", amount) for name, amount in (options.resources or {}).items())


def require_room(schema: ServeDeploySchema, cpus: int, gpus: int) -> None:
    """Raise ValueError for a replica that this one machine cannot hold, or for more than it holds together."""
    needed = {"num_cpus": 0.0, "num_gpus": 0.0}
    for application in schema.applications:
        for deployment in application.deployments:
            for name, amount in _amounts(deployment):
                if name in needed:
                    needed[name] += amount * _fewest(deployment)
    for name, has in (("num_cpus", cpus), ("num_gpus", gpus)):
        if needed[name] > has:
            raise ValueError(
                f"ray_actor_options: the replicas need {name} {needed[name]:g} together, and this machine has {has}: "
                "ask for less, or for fewer replicas"
            )


def _fewest(deployment: DeploymentSchema) -> int:
    scaling: Any = deployment.autoscaling_config
    if isinstance(scaling, dict):
        return int(cast(dict[str, Any], scaling).get("min_replicas", 1) or 0)
    return deployment.num_replicas if isinstance(deployment.num_replicas, int) else 1


def _unknown(raw: Any, understood: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of what stands in the document but not in Serve's classes."""
    if isinstance(raw, list) and isinstance(understood, list):
        for index, (entry, model) in enumerate(zip(cast(list[Any], raw), cast(list[Any], understood), strict=True)):
            yield from _unknown(entry, model, f"{path}{index}.")
    elif isinstance(raw, dict) and isinstance(understood, BaseModel):
        for name, value in cast(dict[str, Any], raw).items():
            if name not in type(understood).model_fields:
                yield f"{path}{name}"
            elif name == "autoscaling_config" and isinstance(value, dict):  # Serve keeps this one as it is
                yield from _unknown(value, _scaling(value, f"{path}{name}"), f"{path}{name}.")
            else:
                yield from _unknown(value, getattr(understood, name), f"{path}{name}.")


def _scaling(value: Any, place: str) -> AutoscalingConfig:
    try:
        return AutoscalingConfig.model_validate(value)
    except ValidationError as error:
        raise ValueError(first_problem(error, place)) from None
