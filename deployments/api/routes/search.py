"""`GET /v1/conversations/search`: full-text search over the key's conversations; OpenAI has no such endpoint."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.http.replies import JSON
from deployments.api.pages import page_object
from deployments.api.routes.conversations import conversation_shown
from deployments.api.schemas import conversations as shapes
from deployments.api.schemas.openapi import documented
from deployments.api.services import caller_of, services_of
from deployments.errors import HistoryUnavailable, NotFound
from deployments.history.search import Match, snippet
from deployments.keys.authenticator import Caller

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])
CallerOf = Annotated[Caller, Depends(caller_of)]
Limit = Annotated[int, Query(ge=1, le=50)]
Typed = Annotated[str, Query(min_length=1, max_length=1000)]


class Piece(msgspec.Struct):
    """A part of a snippet: text to be shown as it is, never as markup."""

    text: str
    match: bool


class SearchHit(msgspec.Struct):
    """A conversation in which something was found: its best item, and the text around the match."""

    id: str
    object: Literal["conversation.match"]
    conversation: shapes.Conversation
    item_id: str
    role: Literal["user", "assistant"]
    score: float
    snippet: list[Piece]


class SearchPage(msgspec.Struct):
    """A page of matches, the best first; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[SearchHit]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.get(
    "/search", response_model=None, openapi_extra=documented(answer=SearchPage, errors=(HistoryUnavailable, NotFound))
)
async def search_conversations(
    request: Request, caller: CallerOf, q: Typed, limit: Limit = 20, after: str | None = None
) -> Response:
    """Find the key's conversations by the words of their messages.

    Every word of `q` must stand in one message; the last may be the beginning of
    a word, unless a blank follows it. Any language; small and capital letters are one.
    """
    page = await services_of(request).stores.history.search(caller.tenant, q, after, limit)
    return JSON(page_object(page, [_found(match, q) for match in page.data]))


def _found(match: Match, typed: str) -> dict[str, Any]:
    return {
        "id": match.id,
        "object": "conversation.match",
        "conversation": conversation_shown(match.conversation),
        "item_id": match.item_id,
        "role": match.role,
        "score": round(match.score, 6),
        "snippet": [{"text": piece.text, "match": piece.is_match} for piece in snippet(match.text, typed)],
    }
