"""`GET /v1/models` and `GET /v1/models/{id}`."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from deployments.api.http.dialect import is_anthropic
from deployments.api.http.replies import JSON
from deployments.api.schemas.model_list import Model, Models
from deployments.api.schemas.openapi import documented
from deployments.api.services import ServedModels, caller_of, services_of
from deployments.errors import ModelNotFound
from deployments.keys.authenticator import Caller
from deployments.models.availability import ModelState

router = APIRouter(tags=["models"])
Asking = Annotated[Caller, Depends(caller_of)]


@router.get("/v1/models", response_model=None, openapi_extra=documented(answer=Models))
async def list_models(request: Request, caller: Asking) -> Response:
    """List the models, the default one first, their LoRA adapters with `parent`, then aliases.

    `status` says whether each can answer now. A request with `anthropic-version` gets Anthropic's shape, here and
    for one model.
    """
    models = services_of(request).models
    states = await models.states()
    shown = {model["id"]: model for model in await asyncio.gather(*(_model(models, state, caller) for state in states))}
    shown |= {name: shown[parent] | _adapted(models, name, parent) for name, parent in models.names.adapters.items()}
    aliases = [shown[name] | {"id": alias, "alias_of": name} for alias, name in models.names.single_aliases.items()]
    if is_anthropic(request.scope):
        return JSON(_page([_info(model) for model in (*shown.values(), *aliases)]))
    return JSON({"object": "list", "data": [*shown.values(), *aliases]})


@router.get(
    "/v1/models/{model:path}",
    response_model=None,
    openapi_extra=documented(answer=Model, errors=[ModelNotFound]),
)
async def retrieve_model(request: Request, model: str, caller: Asking) -> Response:
    """Return one model, with its replicas and the requests that their engines hold now."""
    models = services_of(request).models
    name = models.resolve(model)
    parent = models.names.adapters.get(name, name)
    state = next(state for state in await models.states() if state.id == parent)
    shown = await _model(models, state, caller)
    adapter = {} if parent == name else _adapted(models, name, parent)
    alias = {} if model == name else {"id": model, "alias_of": name}
    if is_anthropic(request.scope):
        return JSON(_info({**shown, **adapter, **alias}))
    return JSON({**shown, **adapter, **alias, "replicas": state.replicas, "running": await models.running(parent)})


async def _model(models: ServedModels, state: ModelState, caller: Caller) -> dict[str, Any]:
    traits = await models.traits(state.id)
    shape = {"id": state.id, "object": "model", "created": 0, "owned_by": "chatllm", "status": state.status}
    modalities = {"input_modalities": traits.input_modalities, "output_modalities": traits.output_modalities}
    reason: dict[str, Any] = {"reason": state.absence.reason} if caller.is_admin and state.absence.reason else {}
    if caller.is_admin and state.status in ("loading", "asleep"):
        reason |= {"phase": state.phase, "percent": state.percent}
        reason |= {"expected_s": state.expected_s, "remaining_s": state.remaining_s}
    rest = {"max_model_len": traits.max_model_len, "writes_titles": models.policy(state.id).writes_titles}
    return shape | modalities | rest | {"fallback": models.fallback(state.id)} | reason


def _adapted(models: ServedModels, name: str, parent: str) -> dict[str, Any]:
    """Return what an adapter's entry has in place of its model's; the service file's own show no path."""
    loaded = models.adapter(name)
    return {"id": name, "parent": parent} | ({"root": loaded.source} if loaded else {})


def _info(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model as Anthropic's API shows it; when it was released, nobody here knows."""
    return {
        "type": "model",
        "id": shown["id"],
        "display_name": shown["id"],
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": shown["max_model_len"],
        "max_tokens": shown["max_model_len"],
    }


def _page(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the only page of Anthropic's list."""
    return {"data": models, "has_more": False, "first_id": models[0]["id"], "last_id": models[-1]["id"]}
