"""What answers about responses look like; for their description, not for making them."""

from typing import Any, Literal

import msgspec

from deployments.api.schemas.conversations import Item


class ResponseUsage(msgspec.Struct):
    """Tokens of a response."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ResponseFailure(msgspec.Struct):
    """Why a response failed; `reason` is the code that a request would have failed with."""

    code: str
    message: str
    reason: str | msgspec.UnsetType = msgspec.UNSET
    retry_after_s: float | msgspec.UnsetType = msgspec.UNSET


class Response(msgspec.Struct):
    """A response; parameters that are not named here are returned as they were given."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: ResponseFailure | None
    incomplete_details: dict[str, str] | None
    model: str
    output: list[dict[str, Any]]
    conversation: dict[str, str] | None
    previous_response_id: str | None
    metadata: dict[str, str]
    usage: ResponseUsage | None


class RunningResponses(msgspec.Struct):
    """The background responses of a conversation that have not ended."""

    object: Literal["list"]
    data: list[Response]


class ResponseEvent(msgspec.Struct):
    """One event of a stream; the other fields depend on its type."""

    type: str
    sequence_number: int


class DeletedResponse(msgspec.Struct):
    """What is left of a response."""

    id: str
    object: Literal["response"]
    deleted: bool


class InputItems(msgspec.Struct):
    """A page of a response's input."""

    object: Literal["list"]
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputTokens(msgspec.Struct):
    """How many tokens the model would read for a response."""

    object: Literal["response.input_tokens"]
    input_tokens: int
