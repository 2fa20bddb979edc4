"""`/v1/conversations`: OpenAI's shapes for conversations and their items, and the list that OpenAI lacks."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.errors import BadRequest, Conflict, HistoryUnavailable, NotFound
from deployments.history.types import Conversation, Item, NewItem, Page
from deployments.history.wire import new_items
from deployments.ingress import shapes
from deployments.ingress.answers import JSON
from deployments.ingress.openapi import documented
from deployments.ingress.requests import checked, json_object
from deployments.ingress.services import caller_of, services_of
from deployments.keys.authenticator import Caller

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])
CallerOf = Annotated[Caller, Depends(caller_of)]
Limit = Annotated[int, Query(ge=1, le=100)]

MAX_ITEMS = 20
"""Items that one request may add (OpenAI API reference, "Create items")."""
Metadata = Annotated[dict[str, Annotated[str, msgspec.Meta(max_length=512)]], msgspec.Meta(max_length=16)]


class ConversationBody(msgspec.Struct):
    """The body of a create or an update."""

    metadata: Metadata | None = None
    title: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    items: list[dict[str, Any]] | None = None


class ItemsBody(msgspec.Struct):
    """The body of an append."""

    items: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]


ERRORS = (HistoryUnavailable,)
LISTING = (HistoryUnavailable, NotFound)
AN_ITEM = {"type": "message", "role": "user", "content": "How long is the Rhine?"}
A_CONVERSATION = {"metadata": {"topic": "geography"}, "items": [AN_ITEM]}


async def _body(request: Request, schema: type[Any]) -> dict[str, Any]:
    limits = services_of(request).settings.limits
    decoded = await json_object(request, limits.max_body_bytes)
    checked(decoded, schema, limits.max_messages)
    return decoded


@router.post(
    "",
    response_model=None,
    openapi_extra=documented(ConversationBody, shapes.Conversation, example=A_CONVERSATION, errors=ERRORS),
)
async def create_conversation(request: Request, caller: CallerOf) -> Response:
    """Create a conversation, with first items if there are any."""
    body = await _body(request, ConversationBody)
    items: list[NewItem] = new_items(body.get("items") or [], MAX_ITEMS)
    history = services_of(request).history
    conversation = await history.create_conversation(caller.tenant, body.get("metadata") or {}, items)
    if body.get("title"):
        conversation = await history.update_conversation(caller.tenant, conversation.id, title=body["title"])
    return JSON(_conversation(conversation))


@router.get("", response_model=None, openapi_extra=documented(answer=shapes.ConversationPage, errors=LISTING))
async def list_conversations(
    request: Request, caller: CallerOf, limit: Limit = 20, after: str | None = None
) -> Response:
    """List one's own conversations, the latest activity first."""
    page = await services_of(request).history.conversations(caller.tenant, after, limit)
    return JSON(_page(page, [_conversation(c) for c in page.data]))


@router.get("/{conversation}", response_model=None, openapi_extra=documented(answer=shapes.Conversation, errors=ERRORS))
async def retrieve_conversation(request: Request, caller: CallerOf, conversation: str) -> Response:
    """Return one conversation."""
    return JSON(_conversation(await services_of(request).history.conversation(caller.tenant, conversation)))


@router.post(
    "/{conversation}",
    response_model=None,
    openapi_extra=documented(ConversationBody, shapes.Conversation, example={"title": "Rivers"}, errors=ERRORS),
)
async def update_conversation(request: Request, caller: CallerOf, conversation: str) -> Response:
    """Replace the metadata, the title, or both."""
    body = await _body(request, ConversationBody)
    if body.get("items"):
        raise BadRequest("Items are added at /v1/conversations/{id}/items.", "items")
    changes = {name: body[name] for name in ("metadata", "title") if body.get(name) is not None}
    return JSON(
        _conversation(await services_of(request).history.update_conversation(caller.tenant, conversation, **changes))
    )


@router.delete(
    "/{conversation}",
    response_model=None,
    openapi_extra=documented(answer=shapes.DeletedConversation, errors=ERRORS),
)
async def delete_conversation(request: Request, caller: CallerOf, conversation: str) -> Response:
    """Delete a conversation and its items."""
    await services_of(request).history.delete_conversation(caller.tenant, conversation)
    return JSON({"id": conversation, "object": "conversation.deleted", "deleted": True})


@router.post(
    "/{conversation}/items",
    response_model=None,
    openapi_extra=documented(ItemsBody, shapes.ItemPage, example={"items": [AN_ITEM]}, errors=[*ERRORS, Conflict]),
)
async def create_items(request: Request, caller: CallerOf, conversation: str) -> Response:
    """Append items, each after the one before it."""
    body = await _body(request, ItemsBody)
    items = await services_of(request).history.append(caller.tenant, conversation, new_items(body["items"], MAX_ITEMS))
    return JSON(_page(Page(items), [_item(item) for item in items]))


@router.get(
    "/{conversation}/items", response_model=None, openapi_extra=documented(answer=shapes.ItemPage, errors=ERRORS)
)
async def list_items(
    request: Request,
    caller: CallerOf,
    conversation: str,
    limit: Limit = 20,
    after: str | None = None,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """List a conversation's items, all branches, in the order of their writing."""
    page = await services_of(request).history.items(caller.tenant, conversation, after, limit, order)
    return JSON(_page(page, [_item(item) for item in page.data]))


@router.get(
    "/{conversation}/items/{item}", response_model=None, openapi_extra=documented(answer=shapes.Item, errors=ERRORS)
)
async def retrieve_item(request: Request, caller: CallerOf, conversation: str, item: str) -> Response:
    """Return one item."""
    return JSON(_item(await services_of(request).history.item(caller.tenant, conversation, item)))


@router.delete(
    "/{conversation}/items/{item}",
    response_model=None,
    openapi_extra=documented(answer=shapes.Conversation, errors=ERRORS),
)
async def delete_item(request: Request, caller: CallerOf, conversation: str, item: str) -> Response:
    """Delete one item; what follows it stays. Returns the conversation, as OpenAI does."""
    history = services_of(request).history
    await history.delete_item(caller.tenant, conversation, item)
    return JSON(_conversation(await history.conversation(caller.tenant, conversation)))


def _conversation(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": int(conversation.created_at.timestamp()),
        "updated_at": int(conversation.updated_at.timestamp()),
        "metadata": conversation.metadata,
        "title": conversation.title,
    }


def _item(item: Item) -> dict[str, Any]:
    return {
        **item.payload,
        "id": item.id,
        "type": item.type,
        "status": item.status,
        "role": item.role,
        "parent_id": item.parent_id,
        "created_at": int(item.created_at.timestamp()),
    }


def _page(page: Page[Any], data: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }
