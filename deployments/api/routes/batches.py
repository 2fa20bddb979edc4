"""`/v1/batches`: OpenAI's batches, many requests in one file."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.http.replies import JSON
from deployments.api.http.requests import checked, json_object
from deployments.api.pages import page_object
from deployments.api.schemas.openapi import documented
from deployments.api.services import caller_of, services_of
from deployments.batches.types import OPEN, WINDOW, Batch
from deployments.errors import BadRequest, Conflict, HistoryUnavailable, LastingConflict, NotFound
from deployments.history.stored.turn import check_metadata
from deployments.keys.authenticator import Caller

router = APIRouter(prefix="/v1/batches", tags=["batches"])
CallerOf = Annotated[Caller, Depends(caller_of)]

ERRORS = (HistoryUnavailable,)
MAX_BODY_BYTES = 65_536
Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
Seconds = Annotated[int, msgspec.Meta(ge=3600, le=2_592_000)]


class ExpiresAfter(msgspec.Struct, forbid_unknown_fields=True):
    """When the files that a batch writes expire."""

    anchor: Literal["created_at"]
    seconds: Seconds


class BatchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A batch to begin; each line of its input file is a request to `endpoint`."""

    input_file_id: str
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None


class BatchError(msgspec.Struct):
    """What is wrong with the input; `line` counts from 1."""

    code: str
    line: int | None
    message: str
    param: str | None


class BatchErrors(msgspec.Struct):
    """All that was found wrong with the input, up to some hundred entries."""

    object: Literal["list"]
    data: list[BatchError]


class RequestCounts(msgspec.Struct):
    """How many requests there are, and how many of them have an answer or an error."""

    total: int
    completed: int
    failed: int


class InputDetails(msgspec.Struct):
    """Of the tokens read, those that the engine had read before."""

    cached_tokens: int


class OutputDetails(msgspec.Struct):
    """Of the tokens generated, those of reasoning."""

    reasoning_tokens: int


class BatchUsage(msgspec.Struct):
    """The tokens of all answers so far."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class BatchObject(msgspec.Struct):
    """A batch as it stands; times are in Unix seconds."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: Literal["24h"]
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class BatchPage(msgspec.Struct):
    """A page of batches; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.post(
    "",
    response_model=None,
    openapi_extra=documented(
        BatchRequest,
        BatchObject,
        example={"input_file_id": "file-abc", "endpoint": "/v1/chat/completions", "completion_window": WINDOW},
        errors=(*ERRORS, NotFound),
    ),
)
async def create_batch(request: Request, caller: CallerOf) -> Response:
    """Begin a batch: its input is checked, its requests are answered when there is room, within 24 hours."""
    services = services_of(request)
    body = await json_object(request, min(MAX_BODY_BYTES, services.settings.limits.max_body_bytes))
    checked(body, BatchRequest, 0)
    wanted = msgspec.convert(body, BatchRequest)
    check_metadata(wanted.metadata or {})
    try:
        file = await services.stores.files.file(caller.tenant, wanted.input_file_id)
    except NotFound as error:
        raise NotFound(error.message, "input_file_id") from None
    if file.purpose != "batch":
        raise BadRequest("The input file's purpose must be 'batch'.", "input_file_id")
    ttl_s = wanted.output_expires_after.seconds if wanted.output_expires_after else None
    limits = caller.limits
    batch = Batch(
        caller.tenant, caller.key_id, wanted.endpoint, file.id, wanted.metadata, ttl_s, max_lines=limits.batch_lines
    )
    await services.stores.batches.create(batch, limits.open_batches)
    services.batches.wake()
    return JSON(batch_object(batch))


@router.get("", response_model=None, openapi_extra=documented(answer=BatchPage, errors=(*ERRORS, NotFound)))
async def list_batches(
    request: Request,
    caller: CallerOf,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> Response:
    """List the key's batches, newest first."""
    page = await services_of(request).stores.batches.batches(caller.tenant, after, limit)
    return JSON(page_object(page, [batch_object(batch) for batch in page.data]))


@router.get("/{batch}", response_model=None, openapi_extra=documented(answer=BatchObject, errors=ERRORS))
async def retrieve_batch(request: Request, caller: CallerOf, batch: str) -> Response:
    """Return one batch as it stands."""
    return JSON(batch_object(await services_of(request).stores.batches.batch(caller.tenant, batch)))


@router.post(
    "/{batch}/cancel", response_model=None, openapi_extra=documented(answer=BatchObject, errors=(*ERRORS, Conflict))
)
async def cancel_batch(request: Request, caller: CallerOf, batch: str) -> Response:
    """Cancel a batch: what runs is stopped, and what has been answered becomes its output."""
    services = services_of(request)
    found = await services.stores.batches.cancel(caller.tenant, batch)
    if found.status not in OPEN:
        raise LastingConflict(f"Cannot cancel a batch with status '{found.status}'.")
    services.batches.stop(batch)
    return JSON(batch_object(found))


def batch_object(batch: Batch) -> dict[str, Any]:
    """Return a batch as OpenAI's API shows it."""
    errors = [
        {"code": error.code, "line": error.line, "message": error.message, "param": error.param}
        for error in batch.errors
    ]
    tokens = batch.tokens
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": errors} if errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": WINDOW,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": _seconds(batch.created_at),
        "in_progress_at": _seconds(batch.in_progress_at),
        "expires_at": _seconds(batch.expires_at),
        "finalizing_at": _seconds(batch.finalizing_at),
        "completed_at": _seconds(batch.completed_at),
        "failed_at": _seconds(batch.failed_at),
        "expired_at": _seconds(batch.expired_at),
        "cancelling_at": _seconds(batch.cancelling_at),
        "cancelled_at": _seconds(batch.cancelled_at),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": tokens.cached},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.input + tokens.output,
        },
        "metadata": None if batch.metadata is None else dict(batch.metadata),
    }


def _seconds(when: datetime | None) -> int | None:
    return None if when is None else int(when.timestamp())
