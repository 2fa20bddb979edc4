"""`/v1/chat/completions/…`: the chat completions that were asked for with `store: true`."""

import re
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.http.replies import JSON
from deployments.api.http.requests import checked, json_object
from deployments.api.pages import page_object
from deployments.api.schemas import completions as shapes
from deployments.api.schemas.openapi import documented
from deployments.api.services import caller_of, services_of
from deployments.errors import BadRequest, HistoryUnavailable, NotFound
from deployments.history.stored.store import StoredCompletion, StoredMessage
from deployments.history.stored.turn import check_metadata
from deployments.keys.authenticator import Caller

router = APIRouter(prefix="/v1/chat/completions", tags=["stored completions"])
CallerOf = Annotated[Caller, Depends(caller_of)]
Limit = Annotated[int, Query(ge=1, le=100)]
Order = Literal["asc", "desc"]

ERRORS = (HistoryUnavailable,)
MAX_BODY_BYTES = 65_536
METADATA_FILTER = re.compile(r"metadata\[([^\]]{1,64})\]")


class UpdateBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an update: metadata replace those that were there, null removes them."""

    metadata: dict[str, str] | None


class Deleted(msgspec.Struct):
    """A deleted stored completion."""

    id: str
    object: Literal["chat.completion.deleted"]
    deleted: bool


class Stored(shapes.ChatCompletion):
    """A stored completion."""

    metadata: dict[str, str] | None = None


class CompletionPage(msgspec.Struct):
    """A page of stored completions; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[Stored]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Message(msgspec.Struct):
    """A message that a stored completion answered."""

    id: str
    role: str
    content: str | None
    content_parts: list[dict[str, Any]] | None = None


class MessagePage(msgspec.Struct):
    """A page of messages; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[Message]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.get("", response_model=None, openapi_extra=documented(answer=CompletionPage, errors=(*ERRORS, NotFound)))
async def list_stored(
    request: Request,
    caller: CallerOf,
    limit: Limit = 20,
    after: str | None = None,
    order: Order = "asc",
    model: str | None = None,
) -> Response:
    """List the key's stored completions; `model` and `metadata[key]=value` filter them."""
    store = services_of(request).stores.completions
    page = await store.completions(caller.tenant, after, limit, order, model, _metadata_of(request))
    return JSON(page_object(page, [_completion(stored) for stored in page.data]))


@router.get("/{completion}", response_model=None, openapi_extra=documented(answer=Stored, errors=ERRORS))
async def retrieve_stored(request: Request, caller: CallerOf, completion: str) -> Response:
    """Return one stored completion."""
    return JSON(_completion(await services_of(request).stores.completions.completion(caller.tenant, completion)))


@router.post(
    "/{completion}",
    response_model=None,
    openapi_extra=documented(UpdateBody, Stored, example={"metadata": {"topic": "rivers"}}, errors=ERRORS),
)
async def update_stored(request: Request, caller: CallerOf, completion: str) -> Response:
    """Replace the metadata of one stored completion."""
    services = services_of(request)
    body = await json_object(request, min(MAX_BODY_BYTES, services.settings.limits.max_body_bytes))
    checked(body, UpdateBody, 0)
    metadata: dict[str, str] = body["metadata"] or {}
    check_metadata(metadata)
    return JSON(_completion(await services.stores.completions.update_metadata(caller.tenant, completion, metadata)))


@router.delete("/{completion}", response_model=None, openapi_extra=documented(answer=Deleted, errors=ERRORS))
async def delete_stored(request: Request, caller: CallerOf, completion: str) -> Response:
    """Delete one stored completion, with its messages."""
    await services_of(request).stores.completions.delete(caller.tenant, completion)
    services_of(request).storage.forget(caller.tenant)
    return JSON({"id": completion, "object": "chat.completion.deleted", "deleted": True})


@router.get("/{completion}/messages", response_model=None, openapi_extra=documented(answer=MessagePage, errors=ERRORS))
async def list_messages(
    request: Request,
    caller: CallerOf,
    completion: str,
    limit: Limit = 20,
    after: str | None = None,
    order: Order = "asc",
) -> Response:
    """List the messages that a stored completion answered."""
    store = services_of(request).stores.completions
    page = await store.messages(caller.tenant, completion, after, limit, order)
    return JSON(page_object(page, [_message(message) for message in page.data]))


def _metadata_of(request: Request) -> dict[str, str]:
    """Return the filter `metadata[key]=value`; raises BadRequest for what looks like one and is none."""
    wanted: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if not name.startswith("metadata"):
            continue
        match = METADATA_FILTER.fullmatch(name)
        if match is None or match[1] in wanted:
            raise BadRequest("Filter metadata as 'metadata[key]=value', each key once.", "metadata")
        wanted[match[1]] = value
    check_metadata(wanted)
    return wanted


def _completion(stored: StoredCompletion) -> dict[str, Any]:
    return {**stored.completion, "metadata": stored.metadata}


def _message(stored: StoredMessage) -> dict[str, Any]:
    """Return a message in OpenAI's shape: the text in `content`, and the parts where there were parts."""
    content = stored.message.get("content")
    if not isinstance(content, list):
        return {**stored.message, "id": stored.id, "content": content, "content_parts": None}
    parts = [part for part in content if isinstance(part, dict)]
    text = "".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    shown = [part for part in parts if part.get("type") in ("text", "image_url")]
    return {**stored.message, "id": stored.id, "content": text or None, "content_parts": shown}
