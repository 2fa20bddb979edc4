"""Settings: every field of the pydantic models that read `args:` of the service file."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deployments.config import AdapterLoading, LoRAModule, ProviderModel, ScriptedModel, Settings, VLLMModel
from deployments.config.models import ModelBase
from docs.generate.markdown import code, paragraphs, prose, table

KINDS: dict[str, type[BaseModel]] = {
    "vllm": VLLMModel,
    "provider": ProviderModel,
    "scripted": ScriptedModel,
}
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
INTRODUCTION = """
# Settings

The service file (`serve_config.yaml`, or what `--config` names) has two parts. Ray Serve reads `deployments:`, which
sets replicas, autoscaling and resources of `Ingress`, `CacheLookup`, and `model-ID` for each model. ChatLLM reads
`args:`, which this page describes. An unknown name or a value out of bounds stops the start with one sentence.

Names are paths: `cache.ttl_s` is `ttl_s` under `cache:`. Units are in the names: `_s` is seconds, `_ms` milliseconds,
`_bytes` bytes. Variables of the environment have [a page of their own](environment.md).

`CacheLookup` needs a fixed number of replicas: look-ups reach it by connections of their own, which Ray Serve neither
counts nor scales by.
"""


def page() -> str:
    """Return the page."""
    models = [
        f"## Models of kind `{kind}`\n\n{prose(model.__doc__)}\n\n{_table(_own(model))}"
        for kind, model in KINDS.items()
    ]
    return paragraphs(
        INTRODUCTION,
        "## The service",
        _table([(name, field) for name, field in Settings.model_fields.items() if not nested(field)]),
        *_sections(Settings),
        "## Every model",
        "The entries of `models`. `kind` is `vllm` unless it is set.",
        _table(fields(ModelBase)),
        *models,
        "## LoRA adapters",
        "The entries of `lora_modules`.",
        _table(fields(LoRAModule)),
        "The settings under `adapter_loading`.",
        _table(fields(AdapterLoading)),
    )


def fields(model: type[BaseModel], prefix: str = "") -> list[tuple[str, FieldInfo]]:
    """Return the settings of a model and of the models in it, by their whole names."""
    found: list[tuple[str, FieldInfo]] = []
    for name, field in model.model_fields.items():
        inside = nested(field)
        found += fields(inside, f"{prefix}{name}.") if inside else [(f"{prefix}{name}", field)]
    return found


def nested(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model that a field holds, if it holds exactly one."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _own(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    shared = {*dict(fields(ModelBase)), "kind"}
    return [(name, field) for name, field in fields(model) if name not in shared]


def _sections(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inside = nested(field)
        if inside is not None:
            yield f"## `{name}`\n\n{prose(inside.__doc__)}\n\n{_table(fields(inside, f'{name}.'))}"


def _table(found: list[tuple[str, FieldInfo]]) -> str:
    rows = [
        (code(name), _default(field), f"{field.description} ({', '.join([_type(field.annotation), *_bounds(field)])})")
        for name, field in found
    ]
    return table(("setting", "default", ""), rows)


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None or value == "":
        return "—"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, tuple):
        value = list(value)
    return code(value)


def _bounds(field: FieldInfo) -> list[str]:
    return [
        f"{words} {getattr(limit, name):,}"
        for limit in field.metadata
        for name, words in BOUNDS.items()
        if getattr(limit, name, None) is not None
    ]


def _type(kind: Any) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type(inside[0])
    if origin is Literal:
        return " or ".join(code(value) for value in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in inside if part is not type(None)))
    if origin in (tuple, list):
        return f"list of {_type(inside[0])}"
    if origin is dict:
        return "mapping"
    return {int: "integer", float: "number", bool: "boolean", str: "text"}.get(kind, "mapping")
