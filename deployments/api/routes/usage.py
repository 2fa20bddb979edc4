"""`GET /v1/usage`: the key's own usage by day, model or both; administrators see any key's."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, cast

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.http.replies import JSON
from deployments.api.schemas.openapi import documented
from deployments.api.services import caller_of, services_of
from deployments.errors import BadRequest, Forbidden, HistoryUnavailable
from deployments.keys.authenticator import Caller
from deployments.usage.types import Grouping, Row, Used

router = APIRouter(tags=["usage"])
CallerOf = Annotated[Caller, Depends(caller_of)]

ALL_KEYS = "all"
DEFAULT_DAYS = 30
MAX_DAYS = 366
MAX_ROWS = 10_000
GROUPINGS = ("day", "model", "key")


class Sums(msgspec.Struct):
    """Requests that were let in, and their tokens; those answered from the cache are in `cached_tokens` alone."""

    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    total_tokens: int


class UsageRow(Sums):
    """The sums of a group; what is not grouped by is absent."""

    day: str | msgspec.UnsetType = msgspec.UNSET
    model: str | msgspec.UnsetType = msgspec.UNSET
    key_id: str | msgspec.UnsetType = msgspec.UNSET


class Usage(msgspec.Struct):
    """Usage from `start` to `end` (UTC days, both included); `has_more` says that groups were left out."""

    object: Literal["list"]
    start: str
    end: str
    data: list[UsageRow]
    total: Sums
    has_more: bool


@router.get(
    "/v1/usage", response_model=None, openapi_extra=documented(answer=Usage, errors=(Forbidden, HistoryUnavailable))
)
async def read_usage(
    request: Request,
    caller: CallerOf,
    start: date | None = None,
    end: date | None = None,
    group_by: Annotated[str, Query(max_length=40)] = "day",
    key_id: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Return usage by `group_by`: some of day, model and key, with commas between.

    It covers the last 30 days unless said otherwise, and is seconds behind. An administrator may
    name another `key_id`, or `all`.
    """
    groups = _groups(group_by)
    last = end or datetime.now(UTC).date()
    first = start or last - min(timedelta(days=DEFAULT_DAYS - 1), last - date.min)
    if not 0 <= (last - first).days < MAX_DAYS:
        raise BadRequest(f"'start' must not be after 'end', and at most {MAX_DAYS} days lie between them.", "start")
    whose = key_id or caller.key_id
    if whose != caller.key_id and not caller.is_admin:
        raise Forbidden("Only an administrator's key may see the usage of others.")
    of_key = None if whose == ALL_KEYS else whose
    rows = await services_of(request).stores.usage.report(of_key, first, last, groups, MAX_ROWS + 1)
    shown = rows[:MAX_ROWS]
    return JSON(
        {
            "object": "list",
            "start": str(first),
            "end": str(last),
            "data": [_row(row) for row in shown],
            "total": sums_of(sum((row.used for row in shown), Used())),
            "has_more": len(rows) > MAX_ROWS,
        }
    )


def _groups(text: str) -> list[Grouping]:
    names = [name for name in text.split(",") if name]
    if not set(names) <= set(GROUPINGS):
        raise BadRequest("'group_by' may name day, model and key, with commas between.", "group_by")
    return cast("list[Grouping]", names)


def _row(row: Row) -> dict[str, Any]:
    group = {"day": row.day and str(row.day), "model": row.model, "key_id": row.key_id}
    return {**{name: value for name, value in group.items() if value is not None}, **sums_of(row.used)}


def sums_of(used: Used) -> dict[str, int]:
    """Return sums as the API tells them."""
    return {
        "requests": used.requests,
        "errors": used.errors,
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "cached_tokens": used.cached_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
    }
