"""`/v1/responses`: OpenAI's Responses, kept as items of conversations."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.exchange import exchange
from deployments.api.http.replies import JSON
from deployments.api.http.requests import body_as
from deployments.api.metering import Meter
from deployments.api.pages import page_object
from deployments.api.routes.conversations import Include
from deployments.api.schemas import responses as shapes
from deployments.api.schemas.openapi import documented
from deployments.api.services import Services, cache_control_of, caller_of, ensure_storage, services_of, wait_of
from deployments.chat.call import Answer
from deployments.chat.summary import Summary
from deployments.chat.waiting import notice
from deployments.errors import (
    BadRequest,
    Conflict,
    ContextTooLong,
    HistoryUnavailable,
    ModelLoading,
    ModelNotFound,
    NotFound,
    NotOffered,
    ProviderBusy,
    ProviderFailed,
    StorageFull,
    Timeout,
)
from deployments.history.outgoing import shown
from deployments.infra.threads import run_sized
from deployments.keys.authenticator import Caller
from deployments.limits.estimate import NOTHING, weight_of
from deployments.responses.objects import response_object
from deployments.responses.request import ResponseCall, ResponseRequest, read_call

router = APIRouter(prefix="/v1/responses", tags=["responses"])
CallerOf = Annotated[Caller, Depends(caller_of)]

ERRORS = (HistoryUnavailable,)
EXAMPLE = {"input": "What is ChatLLM?", "instructions": "Be brief."}


@router.post(
    "",
    response_model=None,
    openapi_extra=documented(
        ResponseRequest,
        shapes.Response,
        events=shapes.ResponseEvent,
        example=EXAMPLE,
        errors=[
            ContextTooLong,
            StorageFull,
            ModelNotFound,
            NotFound,
            Conflict,
            ModelLoading,
            ProviderBusy,
            ProviderFailed,
            HistoryUnavailable,
            Timeout,
        ],
    ),
)
async def create_response(request: Request) -> Response:
    """Answer, streamed (`stream: true`), whole, or in the background (`background: true`, polled or streamed later)."""
    services, caller = services_of(request), await caller_of(request)
    body, steering = await body_as(request, ResponseRequest), cache_control_of(request)
    limits = services.settings.limits
    wanted = await run_sized(request.state.body_bytes, read_call, body, limits.max_messages, steering)
    wanted = replace(wanted, wait_s=wait_of(request))
    if wanted.is_stored:
        await ensure_storage(request, caller)

    async def work(summary: Summary) -> Answer:
        summary.ignored = wanted.ignored
        if wanted.is_background:
            return await _started(request.state.meter, services, caller, wanted, summary)
        return await services.responses.answer(caller.tenant, caller.key_id, wanted, summary)

    weight = weight_of("chat", wanted.chat, services.settings.key_limits.assumed_answer_tokens)
    return await exchange(request, services, caller, wanted.streams, work, weight)


@router.post(
    "/input_tokens",
    response_model=None,
    openapi_extra=documented(
        ResponseRequest,
        shapes.InputTokens,
        example=EXAMPLE,
        errors=[ContextTooLong, ModelNotFound, NotFound, Conflict, ModelLoading, HistoryUnavailable, Timeout],
    ),
)
async def count_input_tokens(request: Request) -> Response:
    """Count the tokens that the model would read for such a response, by its tokenizer and chat template."""
    services, caller = services_of(request), await caller_of(request)
    body, limits = await body_as(request, ResponseRequest), services.settings.limits
    wanted = await run_sized(request.state.body_bytes, read_call, body, limits.max_messages, may_be_empty=True)
    wanted = replace(wanted, wait_s=wait_of(request))

    async def work(summary: Summary) -> Answer:
        tokens = await services.responses.input_tokens(caller.tenant, wanted, summary)
        return Answer(orjson.dumps({"object": "response.input_tokens", "input_tokens": tokens}))

    return await exchange(request, services, caller, False, work, weight_of("tokenize", {}, 0))


async def compact(request: Request) -> Response:
    """Refuse to compact a conversation: its readers would need the key to OpenAI's encrypted summaries."""
    await caller_of(request)
    raise NotOffered("Compacting conversations is not supported: 'truncation': 'auto' leaves out the oldest messages.")


router.add_route("/v1/responses/compact", compact, methods=["POST"], include_in_schema=False)


async def _started(meter: Meter, services: Services, caller: Caller, wanted: ResponseCall, summary: Summary) -> Answer:
    """Return a response that runs from now on, or its events; when the client leaves it goes on.

    So what it was admitted for is its own from now on: its place, and the tokens that were reserved.
    """
    summary.cache_reason, summary.is_follower = "background", True
    response = await services.background.start(caller.tenant, caller.key_id, wanted, meter.admission, meter.job)
    meter.hand_over()
    summary.model = str(response.request["model"])
    if wanted.streams:
        frames = services.background.follow(caller.tenant, response.id, -1)
        return Answer(frames=frames, waits_for=partial(notice, None, summary))
    return Answer(orjson.dumps(response_object(response)))


@router.get(
    "/{response}",
    response_model=None,
    openapi_extra=documented(answer=shapes.Response, events=shapes.ResponseEvent, errors=ERRORS),
)
async def retrieve_response(
    request: Request,
    caller: CallerOf,
    response: str,
    _: Include,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
) -> Response:
    """Return a response, or the events of one in the background (`stream=true`), from any point on."""
    services = services_of(request)
    if not stream:
        return JSON(response_object(await services.stores.responses.response(caller.tenant, response)))

    async def work(summary: Summary) -> Answer:
        summary.cache_reason, summary.is_follower = "background", True
        found = await services.stores.responses.show(caller.tenant, response)
        summary.model = str(found.request["model"])
        if not found.is_background:
            raise BadRequest("Only a response in the background can be streamed again.", "stream")
        after = -1 if starting_after is None else starting_after
        frames = services.background.follow(caller.tenant, response, after)
        return Answer(frames=_begun(await anext(frames, None), frames))

    return await exchange(request, services, caller, True, work, NOTHING)


async def _begun(first: bytes | None, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    try:
        if first:
            yield first
        async for data in rest:
            yield data
    finally:
        await rest.aclose()


@router.delete(
    "/{response}", response_model=None, openapi_extra=documented(answer=shapes.DeletedResponse, errors=ERRORS)
)
async def delete_response(request: Request, caller: CallerOf, response: str) -> Response:
    """Delete a response; what continues it can still read it, and the items of a conversation stay there."""
    await services_of(request).stores.responses.delete(caller.tenant, response)
    services_of(request).storage.forget(caller.tenant)
    return JSON({"id": response, "object": "response", "deleted": True})


@router.post("/{response}/cancel", response_model=None, openapi_extra=documented(answer=shapes.Response, errors=ERRORS))
async def cancel_response(request: Request, caller: CallerOf, response: str) -> Response:
    """Stop a response in the background; one that has ended is returned as it is."""
    found = await services_of(request).background.cancel(caller.tenant, response)
    if not found.is_background:
        raise BadRequest("Only a response in the background can be cancelled.")
    return JSON(response_object(found))


@router.get(
    "/{response}/input_items", response_model=None, openapi_extra=documented(answer=shapes.InputItems, errors=ERRORS)
)
async def list_input_items(
    request: Request,
    caller: CallerOf,
    response: str,
    _: Include,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """List what the response's own request brought, the newest first."""
    page = await services_of(request).stores.responses.input_items(caller.tenant, response, after, limit, order)
    data: list[dict[str, Any]] = [shown(item) for item in page.data]
    return JSON(page_object(page, data))
