"""Serve's part of the configuration, checked more strictly than Serve does.

Serve drops every name that it does not know without a word, so that
`num_replica: 4` would be one replica.
"""

from collections.abc import Iterator
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from deployments.config import first_problem


def validated(document: dict[str, Any]) -> ServeDeploySchema:
    """Return the document as Serve understands it; ValueError names the first field that is wrong or unknown."""
    try:
        schema = ServeDeploySchema.model_validate(document)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    for field in _unknown(document, schema):
        raise ValueError(f"{field}: Serve knows no such field")
    return schema


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
                yield from _unknown(value, AutoscalingConfig.model_validate(value), f"{path}{name}.")
            else:
                yield from _unknown(value, getattr(understood, name), f"{path}{name}.")
