"""`POST /v1/tokenize` and `/v1/detokenize`, in vLLM's shapes, and under vLLM's own paths too."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.api.schemas.chat_parts import with_chat_parts
from deployments.api.schemas.chat_request import ChatMessage, Tool
from deployments.api.schemas.openapi import documented
from deployments.api.schemas.pooling import Detokenized, Tokenized
from deployments.api.stateless import ERRORS, ask
from deployments.errors import BadRequest

router = APIRouter(tags=["tokens"])

Token = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class TokenizeRequest(msgspec.Struct):
    """A text (`prompt`) or a chat (`messages`, as the model's template writes it) to be tokenized."""

    prompt: str | None = None
    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)] | None = None
    model: str | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    tools: list[Tool] | None = None


class DetokenizeRequest(msgspec.Struct):
    """Tokens to be turned into text."""

    tokens: list[Token]
    model: str | None = None


TOKENIZE = documented(TokenizeRequest, Tokenized, example={"prompt": "Hello!"}, errors=ERRORS)
DETOKENIZE = documented(DetokenizeRequest, Detokenized, example={"tokens": [72, 105]}, errors=ERRORS)


@router.post("/v1/tokenize", response_model=None, openapi_extra=TOKENIZE)
@router.post("/tokenize", response_model=None, openapi_extra=TOKENIZE)
async def tokenize(request: Request) -> Response:
    """Return a text's or a chat's tokens, and how many the model takes."""
    return await ask(request, "tokenize", TokenizeRequest, _settled)


def _settled(body: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in body.items() if value is not None}
    if ("prompt" in kept) == ("messages" in kept):
        raise BadRequest("Exactly one of 'prompt' and 'messages' is required.", "prompt")
    if "messages" in kept:
        kept["messages"] = with_chat_parts(kept["messages"])
    return kept


@router.post("/v1/detokenize", response_model=None, openapi_extra=DETOKENIZE)
@router.post("/detokenize", response_model=None, openapi_extra=DETOKENIZE)
async def detokenize(request: Request) -> Response:
    """Return the text of tokens."""
    return await ask(request, "detokenize", DetokenizeRequest, dict)
