"""Settings: every field of the pydantic models that read `args:` and `user_config:` of the service file."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deployments.config import (
    AdapterLoading,
    IngressUserConfig,
    LoRAModule,
    ModelBase,
    ModelPolicy,
    ModelUserConfig,
    ProviderModel,
    ScriptedModel,
    Settings,
    VLLMModel,
)
from docs.generate.markdown import code, paragraphs, prose, table

KINDS: dict[str, type[BaseModel]] = {
    "vllm": VLLMModel,
    "provider": ProviderModel,
    "scripted": ScriptedModel,
}
IN_PLACE_MODELS = (
    "Under `models`, by their ids, stand those settings of models that the API alone reads: "
    + ", ".join(code(name) for name in ModelPolicy.model_fields)
    + "."
)
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
INTRODUCTION = """
# Settings

The service file (`serve_config.yaml`, or what `--config` names) lists applications: one of the API and its cache
(`import_path: deployments.app:build_app`), and one for each model (`deployments.app:build_model`, with
`route_prefix: null`). Ray Serve reads their `deployments:`, which set replicas, autoscaling and resources of `Ingress`,
`CacheLookup`, and `model-ID` for each model. ChatLLM reads `args:` and `user_config:`, which this page describes. An
unknown name or a value out of bounds stops the start with one sentence.

Other `args:` restart the replicas of their application, and no others. Of the deployment `Ingress`, what stands under
`user_config:` changes in place, within a second and without a restart; a `user_config` that is not valid changes
nothing, and `/ready` says so to an administrator's key.

Names are paths: `cache.ttl_s` is `ttl_s` under `cache:`. Units are in the names: `_s` is seconds, `_ms` milliseconds,
`_bytes` bytes. Variables of the environment have [a page of their own](environment.md).

Look-ups reach `CacheLookup` by connections of their own, which Ray Serve does not count: where it is to scale, its
`autoscaling_config` needs [a policy that goes by processor time](../how-to/scale.md#scale-the-api-and-its-cache).
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
        "## `user_config` of `Ingress`",
        "What changes in place. It has the names and the meaning that settings have under `args:`, and what it sets "
        f"counts in place of those: {_names(IngressUserConfig, Settings)}. {IN_PLACE_MODELS}",
        "## `user_config` of other deployments",
        "Of `CacheLookup`, `log_level` changes in place; of models:",
        _table(fields(ModelUserConfig)),
        "## Every model",
        "The `args:` of an application of a model. `kind` is `vllm` unless it is set.",
        _table(fields(ModelBase)),
        *models,
        "## LoRA adapters",
        "The entries of `lora_modules`.",
        _table(fields(LoRAModule)),
        "The settings under `adapter_loading`.",
        _table(fields(AdapterLoading)),
    )


def _names(model: type[BaseModel], like: type[BaseModel]) -> str:
    """Return what settings of the same names there are, groups as a whole where they are the same."""
    named: list[str] = []
    for name, field in model.model_fields.items():
        inside = nested(field)
        if inside is None or inside is nested(like.model_fields[name]):
            named += [code(name)] if name != "models" else []
        else:
            named += [code(f"{name}.{inner}") for inner in inside.model_fields]
    return ", ".join(named)


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
