"""`GET /v1/admin/batches`: the batches of all keys that have not ended; for an administrator's key only."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.admin.keys import admin_of
from deployments.api.http.replies import JSON
from deployments.api.pages import page_object
from deployments.api.routes.batches import RequestCounts, batch_object
from deployments.api.schemas.openapi import documented
from deployments.api.services import services_of
from deployments.batches.types import OpenBatch
from deployments.errors import Forbidden, HistoryUnavailable, NotFound

ERRORS = (Forbidden, HistoryUnavailable, NotFound)
SHOWN = (
    "id",
    "object",
    "endpoint",
    "model",
    "status",
    "created_at",
    "in_progress_at",
    "expires_at",
    "cancelling_at",
    "request_counts",
)

router = APIRouter(prefix="/v1/admin/batches", tags=["admin"], dependencies=[Depends(admin_of)])


class AdminBatch(msgspec.Struct):
    """A batch that has not ended, and whose it is; times are in Unix seconds.

    `running` of its requests are being answered now. At the mean rate since it began they will all have an answer at
    `expected_end_at`, null while that cannot be told.
    """

    id: str
    object: Literal["batch"]
    key_id: str
    key_name: str | None
    endpoint: str
    model: str | None
    status: Literal["validating", "in_progress", "finalizing", "cancelling"]
    created_at: int
    in_progress_at: int | None
    expires_at: int
    cancelling_at: int | None
    expected_end_at: int | None
    request_counts: RequestCounts
    running: int


class AdminBatches(msgspec.Struct):
    """A page of batches; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[AdminBatch]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.get("", response_model=None, openapi_extra=documented(answer=AdminBatches, errors=ERRORS))
async def list_open_batches(
    request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
) -> Response:
    """List the batches of all keys that have not ended, the oldest first."""
    services, now = services_of(request), datetime.now(UTC)
    page = await services.stores.batches.open_batches(after, limit)
    names = await services.stores.keys.names({each.batch.key_id for each in page.data})
    body = page_object(page, [_shown(each, names.get(each.batch.key_id), now) for each in page.data])
    return JSON(body, 200, {"cache-control": "no-store"})


def _shown(each: OpenBatch, key_name: str | None, now: datetime) -> dict[str, Any]:
    batch = batch_object(each.batch)
    end = each.expected_end(now)
    return {
        **{name: batch[name] for name in SHOWN},
        "key_id": each.batch.key_id,
        "key_name": key_name,
        "expected_end_at": None if end is None else int(end.timestamp()),
        "running": each.running,
    }
