"""`/v1/streams`: streams of chat completions and completions, for clients that come back to them."""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.exchange import exchange
from deployments.api.http.replies import JSON
from deployments.api.schemas.completions import ChatCompletionChunk
from deployments.api.schemas.openapi import documented
from deployments.api.services import caller_of, services_of
from deployments.chat.call import Answer
from deployments.chat.summary import Summary
from deployments.errors import NotFound
from deployments.keys.authenticator import Caller
from deployments.limits.estimate import NOTHING
from deployments.streams.positions import Position

router = APIRouter(prefix="/v1/streams", tags=["chat"])
CallerOf = Annotated[Caller, Depends(caller_of)]

LAST_EVENT_ID = "last-event-id"
"""What browsers' `EventSource` sends when it connects again (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""


class DeletedStream(msgspec.Struct):
    """A stream that was stopped and forgotten."""

    id: str
    object: Literal["stream.deleted"] = "stream.deleted"
    deleted: bool = True


@router.get(
    "/{stream}",
    response_model=None,
    response_class=Response,
    openapi_extra=documented(events=ChatCompletionChunk, errors=[NotFound]),
)
async def resume_stream(
    request: Request,
    caller: CallerOf,
    stream: str,
    starting_after: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    """Go on with a resumable stream behind the event of `Last-Event-ID` or `starting_after`, by default from its start.

    What was missed comes at once, then what is generated. The id is that of `x-chatllm-stream-id`.
    """
    services, after = services_of(request), _position(request, starting_after)

    async def work(summary: Summary) -> Answer:
        summary.cache_reason, summary.is_follower = "", True
        return Answer(frames=await services.streams.found(caller.tenant, stream, after))

    return await exchange(request, services, caller, True, work, NOTHING)


@router.delete(
    "/{stream}",
    response_model=None,
    openapi_extra=documented(answer=DeletedStream, errors=[NotFound]),
)
async def delete_stream(request: Request, caller: CallerOf, stream: str) -> Response:
    """Stop a resumable stream, within a second wherever it is generated, and forget what it has sent."""
    await services_of(request).streams.cancel(caller.tenant, stream)
    return JSON(msgspec.json.encode(DeletedStream(stream)))


def _position(request: Request, starting_after: str | None) -> Position:
    if starting_after is not None:
        return Position.parsed(starting_after, "starting_after")
    given = request.headers.get(LAST_EVENT_ID, "").strip()
    return Position.parsed(given, "Last-Event-ID") if given else Position()
