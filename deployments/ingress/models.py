"""`GET /v1/models` and `GET /v1/models/{id}`."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from deployments.errors import ModelNotFound
from deployments.ingress.answers import JSON
from deployments.ingress.openapi import documented
from deployments.ingress.services import caller_of, services_of
from deployments.ingress.shapes import Model, Models
from deployments.models.client import ModelState
from deployments.models.protocol import Traits

router = APIRouter(tags=["models"], dependencies=[Depends(caller_of)])


@router.get("/v1/models", response_model=None, openapi_extra=documented(answer=Models))
async def list_models(request: Request) -> Response:
    """List the models, the default one first, then their aliases; `status` says whether each can answer now."""
    models = services_of(request).models
    states = await models.states()
    told = await asyncio.gather(*(models.traits(state.id) for state in states))
    shown = {state.id: _model(state, traits) for state, traits in zip(states, told, strict=True)}
    aliases = [shown[name] | {"id": alias, "alias_of": name} for alias, name in models.names.aliases.items()]
    return JSON({"object": "list", "data": [*shown.values(), *aliases]})


@router.get(
    "/v1/models/{model:path}",
    response_model=None,
    openapi_extra=documented(answer=Model, errors=[ModelNotFound]),
)
async def retrieve_model(request: Request, model: str) -> Response:
    """Return one model, with its replicas and the requests that their engines hold now."""
    models = services_of(request).models
    name = models.resolve(model)
    state = next(state for state in await models.states() if state.id == name)
    shown = _model(state, await models.traits(name))
    alias = {} if model == name else {"id": model, "alias_of": name}
    return JSON({**shown, **alias, "replicas": state.replicas, "running": await models.running(name)})


def _model(state: ModelState, traits: Traits) -> dict[str, Any]:
    shape = {"id": state.id, "object": "model", "created": 0, "owned_by": "chatllm", "status": state.status}
    modalities = {"input_modalities": traits.input_modalities, "output_modalities": traits.output_modalities}
    return shape | modalities | {"max_model_len": traits.max_model_len}
