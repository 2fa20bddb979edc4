"""`/v1/classify` and `/v1/pooling`, for models that classify or pool, in vLLM's shapes."""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.api.routes.embeddings import Text, settled
from deployments.api.schemas.openapi import documented
from deployments.api.schemas.pooling import Classes, Pooled
from deployments.api.stateless import ERRORS, ask

router = APIRouter(tags=["pooling"])


class ClassificationRequest(msgspec.Struct):
    """Texts to be classified; `input` is a text, its tokens, or a list of either."""

    input: Text | Annotated[list[Text | int | list[int]], msgspec.Meta(min_length=1)]
    model: str | None = None


class PoolingRequest(msgspec.Struct):
    """Texts whose pooled output is wanted as it is; `input` is a text, its tokens, or a list of either."""

    input: Text | Annotated[list[Text | int | list[int]], msgspec.Meta(min_length=1)]
    model: str | None = None
    task: str | None = None
    encoding_format: Literal["float", "base64"] | None = None


EXAMPLE = {"input": "How long is the Rhine?"}
CLASSIFY = documented(ClassificationRequest, Classes, example=EXAMPLE, errors=ERRORS)
POOL = documented(PoolingRequest, Pooled, example=EXAMPLE, errors=ERRORS)


@router.post("/v1/classify", response_model=None, openapi_extra=CLASSIFY)
@router.post("/classify", response_model=None, openapi_extra=CLASSIFY)
async def classify(request: Request) -> Response:
    """Classify texts; a 400 names a model that cannot."""
    return await ask(request, "classification", ClassificationRequest, settled)


@router.post("/v1/pooling", response_model=None, openapi_extra=POOL)
@router.post("/pooling", response_model=None, openapi_extra=POOL)
async def pool(request: Request) -> Response:
    """Return the model's pooled output for texts; a 400 names a model that cannot."""
    return await ask(request, "pooling", PoolingRequest, settled)
