"""`POST /v1/embeddings`, for models that make them."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.api.routes.completions import prompts_in
from deployments.api.schemas.openapi import documented
from deployments.api.schemas.pooling import Embeddings
from deployments.api.stateless import ERRORS, ask
from deployments.chat.parameters import without_hints
from deployments.errors import BadRequest

router = APIRouter(tags=["embeddings"])

MAX_TEXTS = 2048
"""OpenAI API reference, "Create embeddings"."""
Text = Annotated[str, msgspec.Meta(min_length=1)]


class EmbeddingRequest(msgspec.Struct):
    """An embeddings request; `input` is a text, its tokens, or a list of either."""

    input: Text | Annotated[list[Text | int | list[int]], msgspec.Meta(min_length=1)]
    model: str | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


@router.post(
    "/v1/embeddings",
    response_model=None,
    openapi_extra=documented(EmbeddingRequest, Embeddings, example={"input": "How long is the Rhine?"}, errors=ERRORS),
)
async def create_embeddings(request: Request) -> Response:
    """Turn texts into vectors; a 400 names a model that cannot."""
    return await ask(request, "embedding", EmbeddingRequest, settled)


def settled(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body as the model is to see it; raises BadRequest for too many texts, or texts mixed with tokens."""
    if prompts_in(body["input"], "input") > MAX_TEXTS:
        raise BadRequest(f"'input' may hold at most {MAX_TEXTS} texts.", "input")
    return without_hints(body)
