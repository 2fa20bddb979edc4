"""`POST /v1/chat/completions`."""

import secrets

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.ingress.exchange import exchange
from deployments.ingress.requests import ChatRequest, checked, json_object
from deployments.ingress.services import caller_of, services_of
from deployments.service import ChatCall

router = APIRouter(tags=["chat"])


@router.post("/v1/chat/completions", response_model=None)
async def create_chat_completion(request: Request) -> Response:
    """Answer a chat, streamed (`stream: true`, server-sent events) or whole."""
    services, caller = services_of(request), await caller_of(request)
    limits = services.settings.limits
    decoded = await json_object(request, limits.max_body_bytes)
    checked(decoded, ChatRequest, limits.max_messages)
    call = ChatCall(secrets.token_hex(16), caller.tenant, decoded)
    return await exchange(request, services, caller, call.streams, lambda summary: services.chat.chat(call, summary))
