"""The way of every request to a model that belongs to no conversation."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request
from starlette.responses import Response

from deployments.api.exchange import exchange
from deployments.api.http.requests import body_as
from deployments.api.services import cache_control_of, caller_of, services_of, wait_of
from deployments.chat.call import Answer, ChatCall
from deployments.chat.summary import Summary
from deployments.errors import ContextTooLong, InvalidJSON, ModelLoading, ModelNotFound, Timeout
from deployments.infra.threads import run_sized
from deployments.limits.estimate import weight_of
from deployments.models.protocol import Endpoint

ERRORS = (InvalidJSON, ContextTooLong, ModelNotFound, ModelLoading, Timeout)
"""What any of them can raise besides what every route can."""


async def ask(
    request: Request,
    endpoint: Endpoint,
    schema: type[Any],
    settle: Callable[[dict[str, Any]], Mapping[str, Any]],
    finish: Callable[[Mapping[str, Any], bytes], bytes] | None = None,
) -> Response:
    """Answer with what a model says to the body, streamed or whole.

    `settle` takes the body, checked by the types of `schema`, and returns what the model is to see;
    `finish` takes the body and a whole answer, and returns what the client is to see.
    """
    services, caller = services_of(request), await caller_of(request)
    given = await body_as(request, schema)
    body = await run_sized(request.state.body_bytes, settle, given)
    call = ChatCall(secrets.token_hex(16), caller.tenant, body, endpoint, cache_control_of(request), wait_of(request))

    async def work(summary: Summary) -> Answer:
        answer = await services.chat.ask(call, summary)
        if finish is None or answer.frames is not None:
            return answer
        return Answer(await run_sized(len(answer.body), finish, given, answer.body))

    return await exchange(
        request,
        services,
        caller,
        call.streams,
        work,
        weight_of(endpoint, body, services.settings.key_limits.assumed_answer_tokens),
        call,
    )
