"""`POST /v1/completions`: a text continued, OpenAI's older endpoint."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.api.schemas.chat_request import Choices, StreamOptions
from deployments.api.schemas.completions import Completion
from deployments.api.schemas.openapi import documented
from deployments.api.schemas.parameters import check_stream_options
from deployments.api.stateless import ERRORS, ask
from deployments.chat.parameters import LogitBias, Penalty, Seed, Share, Stop, Temperature, without_hints
from deployments.errors import BadRequest

router = APIRouter(tags=["completions"])

MAX_CONTINUATIONS = 128
DEFAULT_MAX_TOKENS = 16
"""OpenAI API reference, "Create completion"."""


class CompletionRequest(msgspec.Struct):
    """A completion request; `prompt` is a text, its tokens, or a list of either."""

    prompt: str | Annotated[list[str | int | list[int]], msgspec.Meta(min_length=1)]
    model: str | None = None
    best_of: Choices | None = None
    echo: bool | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    n: Choices | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    user: str | None = None


@router.post(
    "/v1/completions",
    response_model=None,
    openapi_extra=documented(
        CompletionRequest,
        Completion,
        events=Completion,
        example={"prompt": "ChatLLM is", "max_tokens": 16},
        errors=ERRORS,
    ),
)
async def create_completion(request: Request) -> Response:
    """Continue a text, streamed (`stream: true`, server-sent events) or whole."""
    return await ask(request, "completion", CompletionRequest, _settled)


def _settled(body: dict[str, Any]) -> dict[str, Any]:
    prompt, choices = body["prompt"], body.get("n") or 1
    prompts = prompts_in(prompt, "prompt")
    if prompts * choices > MAX_CONTINUATIONS:
        raise BadRequest(f"Prompts times 'n' may be {MAX_CONTINUATIONS} at most.", "prompt")
    if body.get("best_of") not in (None, choices):
        raise BadRequest("'best_of' is not supported: it can only be as large as 'n'.", "best_of")
    check_stream_options(body)
    kept = without_hints(body)
    kept.pop("best_of", None)
    return {"max_tokens": DEFAULT_MAX_TOKENS} | kept


def prompts_in(prompt: str | list[Any], field: str) -> int:
    """Return how many texts there are; raises BadRequest where `prompt` mixes texts and tokens, or one is empty."""
    if isinstance(prompt, str):
        return 1
    kinds = {type(part) for part in prompt}
    if len(kinds) > 1 or any(part == [] for part in prompt):
        raise BadRequest(f"'{field}' must be a string, its tokens, or a list of either.", field)
    return 1 if kinds == {int} else len(prompt)
