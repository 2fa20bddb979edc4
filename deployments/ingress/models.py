"""`GET /v1/models` and `GET /v1/models/{id}`."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from deployments.errors import ModelNotFound
from deployments.ingress.answers import JSON
from deployments.ingress.openapi import documented
from deployments.ingress.services import caller_of, services_of
from deployments.ingress.shapes import Model, Models
from deployments.models.client import ModelState

router = APIRouter(tags=["models"], dependencies=[Depends(caller_of)])


@router.get("/v1/models", response_model=None, openapi_extra=documented(answer=Models))
async def list_models(request: Request) -> Response:
    """List the models, the default one first; `status` says whether each can answer now."""
    states = await services_of(request).models.states()
    return JSON({"object": "list", "data": [_model(state) for state in states]})


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
    return JSON({**_model(state), "replicas": state.replicas, "running": await models.running(name)})


def _model(state: ModelState) -> dict[str, Any]:
    return {"id": state.id, "object": "model", "created": 0, "owned_by": "chatllm", "status": state.status}
