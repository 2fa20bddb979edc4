"""`/v1/admin/adapters`: loading LoRA adapters into running models; only an administrator's key may.

`/v1/load_lora_adapter` and `/v1/unload_lora_adapter` do the same under vLLM's names.
"""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import PlainTextResponse, Response

from deployments.api.admin.keys import admin_of
from deployments.api.http.replies import JSON
from deployments.api.http.requests import checked, json_object
from deployments.api.schemas.openapi import documented
from deployments.api.services import services_of
from deployments.config.models import ADAPTER_NAME
from deployments.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    HistoryUnavailable,
    ModelLoading,
    ModelNotFound,
    NotFound,
)
from deployments.lora.types import Adapter

MAX_BODY_BYTES = 65_536
ERRORS = (Forbidden, NotFound, Conflict, HistoryUnavailable, ModelLoading)

Name = Annotated[str, msgspec.Meta(pattern=ADAPTER_NAME)]
Source = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class NewAdapter(msgspec.Struct, forbid_unknown_fields=True):
    """An adapter to load: `source` is a folder below one that the service file allows, or a Hugging Face id.

    Without `model` it is for the default one.
    """

    name: Name
    source: Source
    model: str | None = None


class LoadedAdapter(msgspec.Struct):
    """A loaded adapter; `id` is the model that requests name."""

    id: str
    object: Literal["adapter"]
    model: str
    name: str
    source: str
    sha256: str
    rank: int
    bytes: int
    loaded_at: int


class LoadedAdapters(msgspec.Struct):
    """All loaded adapters, in the order of their names."""

    object: Literal["list"]
    data: list[LoadedAdapter]


class Unloaded(msgspec.Struct):
    """An adapter that was unloaded."""

    id: str
    object: Literal["adapter.deleted"]
    deleted: bool


class VLLMLoad(msgspec.Struct):
    """vLLM's request: `lora_name` may begin with a model and a colon."""

    lora_name: str
    lora_path: Source
    load_inplace: bool = False


class VLLMUnload(msgspec.Struct):
    """vLLM's request."""

    lora_name: str
    lora_int_id: int | None = None


router = APIRouter(tags=["admin"], dependencies=[Depends(admin_of)])


@router.get("/v1/admin/adapters", response_model=None, openapi_extra=documented(answer=LoadedAdapters, errors=ERRORS))
async def list_adapters(request: Request) -> Response:
    """List the adapters that were loaded while the service runs; those of the service file are in `/v1/models`."""
    registry = services_of(request).adapters
    await registry.refresh()
    return JSON({"object": "list", "data": [_shown(adapter) for adapter in registry.adapters]})


@router.post(
    "/v1/admin/adapters",
    response_model=None,
    openapi_extra=documented(
        NewAdapter, LoadedAdapter, example={"name": "pirate", "source": "pirate"}, errors=(*ERRORS, ModelNotFound)
    ),
)
async def load_adapter(request: Request) -> Response:
    """Load an adapter into all replicas of its model, in place of one that has its name.

    When this returns, it answers as `<model>:<name>` through every ingress replica.
    """
    body = await _body(request, NewAdapter)
    return JSON(_shown(await _loaded(request, body.get("model"), body["name"], body["source"])))


@router.delete(
    "/v1/admin/adapters/{adapter:path}",
    response_model=None,
    openapi_extra=documented(answer=Unloaded, errors=(*ERRORS, ModelNotFound)),
)
async def unload_adapter(request: Request, adapter: str) -> Response:
    """Unload an adapter: running requests finish, and new ones get a 404 from every ingress replica within seconds."""
    model, name = _named(request, adapter)
    await services_of(request).adapters.unload(model, name)
    return JSON({"id": f"{model}:{name}", "object": "adapter.deleted", "deleted": True})


@router.post(
    "/v1/load_lora_adapter",
    response_model=None,
    openapi_extra=documented(
        VLLMLoad,
        {"type": "string"},
        example={"lora_name": "pirate", "lora_path": "pirate"},
        errors=(*ERRORS, ModelNotFound),
    ),
)
async def load_lora_adapter(request: Request) -> Response:
    """Load an adapter by vLLM's request; one that is loaded already is replaced with `load_inplace` only."""
    body = await _body(request, VLLMLoad)
    model, name = _named(request, body["lora_name"])
    registry = services_of(request).adapters
    if not body.get("load_inplace") and any(one.id == f"{model}:{name}" for one in registry.adapters):
        raise BadRequest(f"The adapter '{model}:{name}' is loaded already: set 'load_inplace'.", "lora_name")
    await _loaded(request, model, name, body["lora_path"])
    return PlainTextResponse(f"Success: LoRA adapter '{body['lora_name']}' added successfully.")


@router.post(
    "/v1/unload_lora_adapter",
    response_model=None,
    openapi_extra=documented(
        VLLMUnload, {"type": "string"}, example={"lora_name": "pirate"}, errors=(*ERRORS, ModelNotFound)
    ),
)
async def unload_lora_adapter(request: Request) -> Response:
    """Unload an adapter by vLLM's request."""
    body = await _body(request, VLLMUnload)
    await services_of(request).adapters.unload(*_named(request, body["lora_name"]))
    return PlainTextResponse(f"Success: LoRA adapter '{body['lora_name']}' removed successfully.")


async def _loaded(request: Request, model: str | None, name: str, source: str) -> Adapter:
    services = services_of(request)
    resolved = services.models.resolve(model)
    if resolved in services.models.names.adapters:
        raise BadRequest(f"{resolved!r} is an adapter itself: name its model.", "model")
    return await services.adapters.load(resolved, name, source)


def _named(request: Request, text: str) -> tuple[str, str]:
    """Return the model and the name that `model:name`, or a name of the default model, stands for."""
    model, _, name = text.rpartition(":")
    resolved = services_of(request).models.resolve(model or None)
    return resolved, _checked_name(name)


def _checked_name(name: str) -> str:
    try:
        return msgspec.convert(name, Name)
    except msgspec.ValidationError:
        raise BadRequest(f"{name[:100]!r} is not a valid adapter name.", "name") from None


async def _body(request: Request, schema: type[Any]) -> dict[str, Any]:
    body = await json_object(request, min(MAX_BODY_BYTES, services_of(request).settings.limits.max_body_bytes))
    checked(body, schema, 0)
    return body


def _shown(adapter: Adapter) -> dict[str, Any]:
    return {
        "id": adapter.id,
        "object": "adapter",
        "model": adapter.model,
        "name": adapter.name,
        "source": adapter.source,
        "sha256": adapter.sha256,
        "rank": adapter.rank,
        "bytes": adapter.size_bytes,
        "loaded_at": adapter.loaded_at,
    }
