"""`POST /v1/chat/completions`."""

import secrets

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.errors import ChatLLMError
from deployments.ingress.answers import JSON, ClientGone, EventStream, while_connected
from deployments.ingress.requests import ChatRequest, checked, json_object
from deployments.ingress.services import Services, caller_of, services_of
from deployments.keys.authenticator import Caller
from deployments.service import ChatCall, Summary

router = APIRouter(tags=["chat"])

CLIENT_GONE_STATUS = 499


@router.post("/v1/chat/completions", response_model=None)
async def create_chat_completion(request: Request) -> Response:
    """Answer a chat, streamed (`stream: true`, server-sent events) or whole."""
    services, caller = services_of(request), await caller_of(request)
    limits = services.settings.limits
    decoded = await json_object(request, limits.max_body_bytes)
    checked(decoded, ChatRequest, limits.max_messages)
    call = ChatCall(secrets.token_hex(16), caller.tenant, decoded)
    return await _answered(request, services, caller, call)


async def _answered(request: Request, services: Services, caller: Caller, call: ChatCall) -> Response:
    request_id: str = request.state.request_id
    services.telemetry.began()
    summary = Summary()

    def ended(outcome: ChatLLMError | ClientGone | None) -> None:
        status = CLIENT_GONE_STATUS if isinstance(outcome, ClientGone) else outcome.status if outcome else 200
        services.telemetry.ended(request_id, caller.key_id, summary, status, call.streams)

    try:
        answer = await while_connected(request, services.chat.chat(call, summary))
    except (ChatLLMError, ClientGone) as error:
        ended(error)
        raise
    except BaseException:
        ended(ChatLLMError())
        raise
    headers = _headers(summary)
    if answer.frames is not None:
        return EventStream(answer.frames, headers, request_id, ended)
    ended(None)
    return JSON(answer.body, 200, headers)


def _headers(summary: Summary) -> dict[str, str]:
    headers = {"x-cache": summary.cache}
    if summary.age_s is not None:
        headers["age"] = str(summary.age_s)
    return headers
