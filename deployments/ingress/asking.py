"""The way of every request to a model that belongs to no conversation."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request
from starlette.responses import Response

from deployments.call import ChatCall
from deployments.errors import ContextTooLong, InvalidJSON, ModelLoading, ModelNotFound, Timeout
from deployments.ingress.exchange import exchange
from deployments.ingress.requests import body_as
from deployments.ingress.services import cache_control_of, caller_of, services_of
from deployments.limits.estimate import weight_of
from deployments.models.protocol import Endpoint
from deployments.threads import run_sized

ERRORS = (InvalidJSON, ContextTooLong, ModelNotFound, ModelLoading, Timeout)
"""What any of them can raise besides what every route can."""


async def ask(
    request: Request, endpoint: Endpoint, schema: type[Any], settle: Callable[[dict[str, Any]], Mapping[str, Any]]
) -> Response:
    """Answer with what a model says to the body, streamed or whole.

    `settle` takes the body, checked by the types of `schema`, and returns what the model is to see.
    """
    services, caller = services_of(request), await caller_of(request)
    body = await body_as(request, schema)
    body = await run_sized(request.state.body_bytes, settle, body)
    call = ChatCall(secrets.token_hex(16), caller.tenant, body, endpoint, cache_control_of(request))
    return await exchange(
        request,
        services,
        caller,
        call.streams,
        lambda summary: services.chat.ask(call, summary),
        weight_of(endpoint, body, services.settings.key_limits.assumed_answer_tokens),
    )
