"""`GET /v1/me`: what a key or user may know of itself: limits, what is left of them, and what was used this month."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from deployments.api.http.replies import JSON
from deployments.api.routes.usage import Sums, sums_of
from deployments.api.schemas.openapi import documented
from deployments.api.services import caller_of, services_of
from deployments.errors import HistoryUnavailable
from deployments.keys.authenticator import Caller
from deployments.keys.types import LIMIT_NAMES, KeyLimits
from deployments.limits.headers import next_month
from deployments.limits.store import Verdict
from deployments.usage.types import Used

router = APIRouter(tags=["usage"])
CallerOf = Annotated[Caller, Depends(caller_of)]


class Left(msgspec.Struct):
    """What is left of a limit, and the seconds until all of it is there again."""

    limit: int
    remaining: int
    reset_s: float


class OwnLimits(msgspec.Struct):
    """The limits that hold for the key, those of the configuration included; null where there is none."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    tokens_per_month: int | None
    storage_bytes: int | None
    open_batches: int | None
    batch_lines: int | None
    file_bytes: int | None


class AllLeft(msgspec.Struct):
    """What is left of each limit that can be counted down; null where the key has no such limit."""

    requests_per_minute: Left | None
    tokens_per_minute: Left | None
    tokens_per_month: Left | None


class MonthUsage(Sums):
    """What the key used since `start`, the month's first day (UTC)."""

    start: str


class Me(msgspec.Struct):
    """The key or user that asks; a user has a `username`, and no `last4`.

    `expires_at`, of a key or of the session that asks, is in Unix seconds, null for never; `stored_bytes` is what it
    keeps here.
    """

    id: str
    object: Literal["api_key", "user"]
    username: str | None
    name: str
    last4: str
    admin: bool
    expires_at: int | None
    limits: OwnLimits
    remaining: AllLeft
    usage: MonthUsage
    stored_bytes: int


@router.get("/v1/me", response_model=None, openapi_extra=documented(answer=Me, errors=(HistoryUnavailable,)))
async def read_me(request: Request, caller: CallerOf) -> Response:
    """Return the key's own name, limits, what is left of them, and this month's usage (seconds behind)."""
    services, now = services_of(request), datetime.now(UTC)
    key = await services.stores.keys.retrieve(caller.key_id)
    first = now.date().replace(day=1)
    rows = await services.stores.usage.report(caller.key_id, first, now.date(), (), 1)
    used = rows[0].used if rows else Used()
    # Asks for nothing, so that it is never refused, and is told where the key stands.
    per_minute = replace(caller.limits, concurrent_requests=None, tokens_per_month=None)
    verdict = (await services.limiter.admit(caller.key_id, per_minute, requests=0, sequences=0)).verdict
    return JSON(
        {
            "id": key.id,
            "object": "user" if key.is_user else "api_key",
            "username": (await services.stores.users.retrieve(key.id)).username if key.is_user else None,
            "name": key.name,
            "last4": key.last4,
            "admin": key.is_admin,
            "expires_at": None if key.expires_at is None else int(key.expires_at.timestamp()),
            "limits": {name: getattr(caller.limits, name) for name in LIMIT_NAMES},
            "remaining": _left(caller.limits, verdict, used, now),
            "usage": {"start": str(first), **sums_of(used)},
            "stored_bytes": await services.stores.history.stored_bytes(caller.tenant)
            + (await services.stores.files.used(caller.tenant)).bytes,
        }
    )


def _left(limits: KeyLimits, verdict: Verdict, used: Used, now: datetime) -> dict[str, Any]:
    month_left = (limits.tokens_per_month or 0) - used.prompt_tokens - used.completion_tokens
    found = {
        "requests_per_minute": (verdict.remaining_requests, verdict.reset_requests_s),
        "tokens_per_minute": (verdict.remaining_tokens, verdict.reset_tokens_s),
        "tokens_per_month": (max(0, month_left), (next_month(now) - now).total_seconds()),
    }
    return {name: _of(getattr(limits, name), *standing) for name, standing in found.items()}


def _of(limit: int | None, remaining: int, reset_s: float) -> dict[str, float] | None:
    return {"limit": limit, "remaining": remaining, "reset_s": round(reset_s, 3)} if limit else None
