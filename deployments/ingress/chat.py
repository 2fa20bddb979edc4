"""`POST /v1/chat/completions`."""

import secrets

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.errors import (
    Conflict,
    ContextTooLong,
    HistoryUnavailable,
    InvalidJSON,
    ModelLoading,
    ModelNotFound,
    Timeout,
)
from deployments.ingress.exchange import exchange
from deployments.ingress.openapi import documented
from deployments.ingress.requests import ChatRequest, checked, json_object
from deployments.ingress.services import caller_of, services_of
from deployments.ingress.shapes import ChatCompletion, ChatCompletionChunk
from deployments.service import ChatCall

router = APIRouter(tags=["chat"])


@router.post(
    "/v1/chat/completions",
    response_model=None,
    openapi_extra=documented(
        ChatRequest,
        ChatCompletion,
        events=ChatCompletionChunk,
        example={"messages": [{"role": "user", "content": "What is ChatLLM?"}], "temperature": 0},
        errors=[InvalidJSON, ContextTooLong, ModelNotFound, Conflict, ModelLoading, HistoryUnavailable, Timeout],
    ),
)
async def create_chat_completion(request: Request) -> Response:
    """Answer a chat, streamed (`stream: true`, server-sent events) or whole."""
    services, caller = services_of(request), await caller_of(request)
    limits = services.settings.limits
    decoded = await json_object(request, limits.max_body_bytes)
    checked(decoded, ChatRequest, limits.max_messages)
    call = ChatCall(secrets.token_hex(16), caller.tenant, decoded)
    return await exchange(request, services, caller, call.streams, lambda summary: services.chat.chat(call, summary))
