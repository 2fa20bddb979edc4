"""`/v1/conversations/{id}/shares`, and what a share shows to anyone: `GET /v1/shares/{token}`, without a key."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from deployments.api.http.replies import JSON
from deployments.api.http.requests import body_as
from deployments.api.schemas.openapi import documented
from deployments.api.services import caller_of, services_of
from deployments.errors import BadRequest, Conflict, HistoryUnavailable, Overloaded
from deployments.history.outgoing import TEXTS
from deployments.history.shares.store import Share, Shared, hash_of, new_token
from deployments.keys.authenticator import Caller

router = APIRouter(tags=["shares"])
CallerOf = Annotated[Caller, Depends(caller_of)]

ERRORS = (HistoryUnavailable,)
MAX_TIME_S = 253_402_300_799  # the end of the year 9999
# Anyone may read. Reads at once, and those that wait for them, so that a flood of them gets two
# connections of the pool and can hold up nobody who has a key.
READS, MAX_WAITING = 2, 100
NEVER_KEPT = {"cache-control": "no-store", "x-robots-tag": "noindex", "referrer-policy": "no-referrer"}


class NewShare(msgspec.Struct, forbid_unknown_fields=True):
    """What to share: up to the item `until` (the newest one unless it is named), until `expires_at` (Unix seconds)."""

    until: str | None = None
    expires_at: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_S)] | None = None


class ConversationShare(msgspec.Struct):
    """A share; `token` stands only in the answer that made it."""

    id: str
    object: Literal["conversation.share"]
    conversation_id: str
    until: str
    title: str | None
    created_at: int
    expires_at: int | None
    token: str | msgspec.UnsetType = msgspec.UNSET


class Shares(msgspec.Struct):
    """All shares of a conversation that are valid, the newest first."""

    object: Literal["list"]
    data: list[ConversationShare]


class DeletedShare(msgspec.Struct):
    """A share that shows nothing any more."""

    id: str
    object: Literal["conversation.share.deleted"]
    deleted: bool


class SharedMessage(msgspec.Struct):
    """What was said; `left_out` counts the parts that are not text, such as images."""

    role: Literal["user", "assistant"]
    text: str
    left_out: int


class SharedConversation(msgspec.Struct):
    """A conversation as it was when it was shared; `is_cut` says that there was more before its first message."""

    object: Literal["shared_conversation"]
    title: str | None
    created_at: int
    messages: list[SharedMessage]
    is_cut: bool


class _Reads:
    """The reads of one event loop that are under way, and those that wait."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(READS)
        self._waiting = 0

    async def read(self, request: Request, token_hash: bytes) -> Shared:
        """Return what a token shows; raises Overloaded where too many ask."""
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many shared conversations are being read; please try again.", None, 1.0)
        self._waiting += 1
        try:
            async with self._slots:
                return await services_of(request).stores.shares.read(token_hash)
        finally:
            self._waiting -= 1


def _reads(request: Request) -> _Reads:
    state = request.app.state
    if not hasattr(state, "share_reads"):
        state.share_reads = _Reads()
    return state.share_reads


@router.post(
    "/v1/conversations/{conversation}/shares",
    response_model=None,
    openapi_extra=documented(
        NewShare, ConversationShare, example={"expires_at": 1_800_000_000}, errors=(*ERRORS, Conflict)
    ),
)
async def create_share(request: Request, caller: CallerOf, conversation: str) -> Response:
    """Share one's conversation as it is now: what is said afterwards is not shown.

    The answer's `token` reads it without a key; only its hash is stored, so that it cannot be had again.
    """
    body = await body_as(request, NewShare)
    expires_at = body.get("expires_at")
    if expires_at is not None and expires_at <= time.time():
        raise BadRequest("'expires_at' must be in the future.", "expires_at")
    token = new_token()
    end = None if expires_at is None else datetime.fromtimestamp(expires_at, UTC)
    shares = services_of(request).stores.shares
    share = await shares.create(caller.tenant, conversation, hash_of(token), body.get("until"), end)
    return JSON({**_shown(share), "token": token}, 200, {"cache-control": "no-store"})


@router.get(
    "/v1/conversations/{conversation}/shares",
    response_model=None,
    openapi_extra=documented(answer=Shares, errors=ERRORS),
)
async def list_shares(request: Request, caller: CallerOf, conversation: str) -> Response:
    """List the shares of one's conversation that are valid, without their tokens."""
    shares = await services_of(request).stores.shares.shares(caller.tenant, conversation)
    return JSON({"object": "list", "data": [_shown(share) for share in shares]})


@router.delete(
    "/v1/conversations/{conversation}/shares/{share}",
    response_model=None,
    openapi_extra=documented(answer=DeletedShare, errors=ERRORS),
)
async def delete_share(request: Request, caller: CallerOf, conversation: str, share: str) -> Response:
    """Revoke a share: its link shows nothing from now on, on every replica."""
    await services_of(request).stores.shares.revoke(caller.tenant, conversation, share)
    return JSON({"id": share, "object": "conversation.share.deleted", "deleted": True})


@router.get(
    "/v1/shares/{token}",
    response_model=None,
    openapi_extra=documented(answer=SharedConversation, errors=(*ERRORS, Overloaded), public=True),
)
async def read_share(request: Request, token: str) -> Response:
    """Return what a share shows: the title and what was said by user and assistant, and nothing else.

    No key is needed. A token that was revoked, has expired or never was is the same 404, and so is
    one whose owner's key is not valid any more.
    """
    shared = await _reads(request).read(request, hash_of(token))
    return JSON(
        {
            "object": "shared_conversation",
            "title": shared.title,
            "created_at": int(shared.created_at.timestamp()),
            "messages": [_message(message) for message in shared.messages],
            "is_cut": shared.is_cut,
        },
        200,
        NEVER_KEPT,
    )


def _shown(share: Share) -> dict[str, Any]:
    return {
        "id": share.id,
        "object": "conversation.share",
        "conversation_id": share.conversation_id,
        "until": share.until,
        "title": share.title,
        "created_at": int(share.created_at.timestamp()),
        "expires_at": None if share.expires_at is None else int(share.expires_at.timestamp()),
    }


def _message(item: dict[str, Any]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = item.get("content") or []
    texts = [str(part.get("text", "")) for part in parts if part.get("type") in TEXTS]
    texts += [str(part.get("refusal", "")) for part in parts if part.get("type") == "refusal"]
    return {"role": item["role"], "text": "".join(texts), "left_out": len(parts) - len(texts)}
