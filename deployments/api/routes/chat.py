"""`POST /v1/chat/completions`."""

import secrets

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.api.exchange import exchange
from deployments.api.http.requests import body_as
from deployments.api.routes.functions import with_function_call
from deployments.api.schemas.chat_request import ChatRequest
from deployments.api.schemas.completions import ChatCompletion, ChatCompletionChunk
from deployments.api.schemas.openapi import documented
from deployments.api.schemas.parameters import settled
from deployments.api.services import cache_control_of, caller_of, ensure_storage, services_of, wait_of
from deployments.chat.call import Answer, ChatCall
from deployments.chat.summary import Summary
from deployments.errors import (
    Conflict,
    ContextTooLong,
    HistoryUnavailable,
    InvalidJSON,
    ModelLoading,
    ModelNotFound,
    ProviderBusy,
    ProviderFailed,
    StorageFull,
    Timeout,
)
from deployments.infra.threads import run_sized
from deployments.limits.estimate import weight_of

PATH = "/v1/chat/completions"

router = APIRouter(tags=["chat"])


@router.post(
    PATH,
    response_model=None,
    openapi_extra=documented(
        ChatRequest,
        ChatCompletion,
        events=ChatCompletionChunk,
        example={"messages": [{"role": "user", "content": "What is ChatLLM?"}], "temperature": 0},
        errors=[
            InvalidJSON,
            ContextTooLong,
            StorageFull,
            ModelNotFound,
            Conflict,
            ModelLoading,
            HistoryUnavailable,
            ProviderBusy,
            ProviderFailed,
            Timeout,
        ],
    ),
)
async def create_chat_completion(request: Request) -> Response:
    """Answer a chat, streamed (`stream: true`, server-sent events) or whole."""
    services, caller = services_of(request), await caller_of(request)
    body = await body_as(request, ChatRequest)
    offers_functions = bool(body.get("functions"))
    body = await run_sized(request.state.body_bytes, settled, body)
    if body.get("conversation") or body.get("store"):
        await ensure_storage(request, caller)

    async def work(summary: Summary) -> Answer:
        answer = await services.chat.chat(call, summary)
        return with_function_call(answer) if offers_functions else answer

    control, wait_s = cache_control_of(request), wait_of(request)
    call = ChatCall(secrets.token_hex(16), caller.tenant, body, cache_control=control, wait_s=wait_s)
    return await exchange(
        request,
        services,
        caller,
        call.streams,
        work,
        weight_of("chat", body, services.settings.key_limits.assumed_answer_tokens),
        None if offers_functions else call,
    )
