"""`/v1/conversations`: OpenAI's shapes for conversations and their items, and the list that OpenAI lacks."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from deployments.api.http.replies import JSON
from deployments.api.http.requests import checked, json_object
from deployments.api.schemas import conversations as shapes
from deployments.api.schemas.openapi import documented
from deployments.api.schemas.responses import RunningResponses
from deployments.api.services import caller_of, ensure_storage, services_of
from deployments.errors import BadRequest, Conflict, HistoryUnavailable, NotFound, PreconditionFailed, StorageFull
from deployments.history.incoming import new_items
from deployments.history.outgoing import shown
from deployments.history.types import Conversation, Page
from deployments.infra.threads import run_sized
from deployments.keys.authenticator import Caller
from deployments.responses.objects import response_object
from deployments.responses.request import INCLUDABLE

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])
CallerOf = Annotated[Caller, Depends(caller_of)]
Limit = Annotated[int, Query(ge=1, le=100)]

MAX_ITEMS = 20
"""Items that one request may add (OpenAI API reference, "Create items")."""
Metadata = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]],
    msgspec.Meta(max_length=16),
]


class ConversationBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a create or an update."""

    metadata: Metadata | None = None
    title: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    items: list[dict[str, Any]] | None = None


class ItemsBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an append; `parent` is the item that the first one follows: the newest unless it is named."""

    items: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]
    parent: str | None = None


ERRORS = (HistoryUnavailable,)
LISTING = (HistoryUnavailable, NotFound)
AN_ITEM = {"type": "message", "role": "user", "content": "How long is the Rhine?"}
A_CONVERSATION = {"metadata": {"topic": "geography"}, "items": [AN_ITEM]}


async def _body(request: Request, schema: type[Any]) -> dict[str, Any]:
    limits = services_of(request).settings.limits
    decoded = await json_object(request, limits.max_body_bytes)
    await run_sized(request.state.body_bytes, checked, decoded, schema, limits.max_messages)
    return decoded


def checked_include(request: Request) -> None:
    """Raise BadRequest where `include` names what OpenAI's API does not have; the SDK writes it `include[]`."""
    for name in (*request.query_params.getlist("include"), *request.query_params.getlist("include[]")):
        if name not in INCLUDABLE:
            raise BadRequest(f"'{name[:100]}' cannot be included.", "include")


Include = Annotated[None, Depends(checked_include)]


@router.post(
    "",
    response_model=None,
    openapi_extra=documented(
        ConversationBody, shapes.Conversation, example=A_CONVERSATION, errors=(*ERRORS, StorageFull)
    ),
)
async def create_conversation(request: Request, caller: CallerOf) -> Response:
    """Create a conversation, with first items if there are any."""
    body = await _body(request, ConversationBody)
    items = await run_sized(request.state.body_bytes, new_items, body.get("items") or [], MAX_ITEMS)
    history = services_of(request).stores.history
    await ensure_storage(request, caller)
    conversation = await history.create_conversation(caller.tenant, body.get("metadata") or {}, items)
    if body.get("title"):
        conversation = await history.update_conversation(caller.tenant, conversation.id, title=body["title"])
    return _reply(conversation)


@router.get("", response_model=None, openapi_extra=documented(answer=shapes.ConversationPage, errors=LISTING))
async def list_conversations(
    request: Request, caller: CallerOf, limit: Limit = 20, after: str | None = None
) -> Response:
    """List the key's conversations, latest activity first."""
    page = await services_of(request).stores.history.conversations(caller.tenant, after, limit)
    return JSON(_page(page, [conversation_shown(c) for c in page.data]))


@router.get("/{conversation}", response_model=None, openapi_extra=documented(answer=shapes.Conversation, errors=ERRORS))
async def retrieve_conversation(request: Request, caller: CallerOf, conversation: str) -> Response:
    """Return one conversation."""
    return _reply(await services_of(request).stores.history.conversation(caller.tenant, conversation))


@router.post(
    "/{conversation}",
    response_model=None,
    openapi_extra=documented(
        ConversationBody,
        shapes.Conversation,
        example={"title": "Rivers"},
        errors=(*ERRORS, PreconditionFailed),
    ),
)
async def update_conversation(
    request: Request, caller: CallerOf, conversation: str, if_match: Annotated[str, Header()] = "*"
) -> Response:
    """Replace the metadata, the title, or both; with `If-Match`, only while they have the `ETag` that was read."""
    body = await _body(request, ConversationBody)
    if body.get("items"):
        raise BadRequest("Items are added at /v1/conversations/{id}/items.", "items")
    if not body.keys() & {"metadata", "title"}:
        raise BadRequest("Give 'metadata', 'title', or both.", "metadata")
    empty: dict[str, Any] = {"metadata": {}, "title": ""}
    changes = {name: empty[name] if body[name] is None else body[name] for name in empty if name in body}
    version = None if if_match == "*" else if_match.strip('"')
    return _reply(
        await services_of(request).stores.history.update_conversation(
            caller.tenant, conversation, **changes, version=version
        )
    )


@router.delete(
    "/{conversation}",
    response_model=None,
    openapi_extra=documented(answer=shapes.DeletedConversation, errors=ERRORS),
)
async def delete_conversation(request: Request, caller: CallerOf, conversation: str) -> Response:
    """Delete a conversation and its items."""
    await services_of(request).stores.history.delete_conversation(caller.tenant, conversation)
    services_of(request).storage.forget(caller.tenant)
    return JSON({"id": conversation, "object": "conversation.deleted", "deleted": True})


@router.post(
    "/{conversation}/items",
    response_model=None,
    openapi_extra=documented(
        ItemsBody, shapes.ItemPage, example={"items": [AN_ITEM]}, errors=[*ERRORS, Conflict, StorageFull]
    ),
)
async def create_items(request: Request, caller: CallerOf, conversation: str, _: Include) -> Response:
    """Append items, each after the one before it."""
    body = await _body(request, ItemsBody)
    new = await run_sized(request.state.body_bytes, new_items, body["items"], MAX_ITEMS)
    if body.get("parent") is not None:
        new[0] = new[0].after(body["parent"])
    await ensure_storage(request, caller)
    items = await services_of(request).stores.history.append(caller.tenant, conversation, new)
    return JSON(_page(Page(items), [shown(item) for item in items]))


@router.get(
    "/{conversation}/items", response_model=None, openapi_extra=documented(answer=shapes.ItemPage, errors=ERRORS)
)
async def list_items(
    request: Request,
    caller: CallerOf,
    conversation: str,
    _: Include,
    limit: Limit = 20,
    after: str | None = None,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """List a conversation's items, all branches, in the order of their writing."""
    page = await services_of(request).stores.history.items(caller.tenant, conversation, after, limit, order)
    return JSON(_page(page, [shown(item) for item in page.data]))


@router.get(
    "/{conversation}/items/{item}", response_model=None, openapi_extra=documented(answer=shapes.Item, errors=ERRORS)
)
async def retrieve_item(request: Request, caller: CallerOf, conversation: str, item: str, _: Include) -> Response:
    """Return one item."""
    return JSON(shown(await services_of(request).stores.history.item(caller.tenant, conversation, item)))


@router.delete(
    "/{conversation}/items/{item}",
    response_model=None,
    openapi_extra=documented(answer=shapes.Conversation, errors=ERRORS),
)
async def delete_item(request: Request, caller: CallerOf, conversation: str, item: str) -> Response:
    """Delete one item; what follows it stays. Returns the conversation, as OpenAI does."""
    history = services_of(request).stores.history
    await history.delete_item(caller.tenant, conversation, item)
    services_of(request).storage.forget(caller.tenant)
    return JSON(conversation_shown(await history.conversation(caller.tenant, conversation)))


@router.get(
    "/{conversation}/responses",
    response_model=None,
    openapi_extra=documented(answer=RunningResponses, errors=ERRORS),
)
async def list_running_responses(
    request: Request,
    caller: CallerOf,
    conversation: str,
    status: Literal["in_progress"] = "in_progress",
    limit: Limit = 20,
) -> Response:
    """List the background responses that are not at their end yet, the newest first; their events can be streamed."""
    del status  # others are not listed: their items are there
    running = await services_of(request).stores.responses.running(caller.tenant, conversation, limit)
    return JSON({"object": "list", "data": [response_object(response) for response in running]})


def _reply(conversation: Conversation) -> Response:
    return JSON(conversation_shown(conversation), headers={"etag": f'"{conversation.version}"'})


def conversation_shown(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation in OpenAI's shape, with its title and last activity besides."""
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": int(conversation.created_at.timestamp()),
        "updated_at": int(conversation.updated_at.timestamp()),
        "metadata": conversation.metadata,
        "title": conversation.title,
    }


def _page(page: Page[Any], data: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }
