"""What answers of Anthropic's API look like; for their description, not for making them."""

from typing import Any, Literal

import msgspec


class MessageUsage(msgspec.Struct):
    """Tokens of a message: what it answers, read anew or found in the engine's cache, and what it says."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class AnsweredMessage(msgspec.Struct):
    """A message of the model; its blocks are of the types `thinking`, `text` and `tool_use`."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: Literal[
        "end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"
    ]
    stop_sequence: str | None
    usage: MessageUsage


class MessageEvent(msgspec.Struct):
    """One event of a stream; the other fields depend on its type."""

    type: Literal[
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    ]


class MessageTokens(msgspec.Struct):
    """How many tokens the model would read."""

    input_tokens: int


class MessageErrorDetail(msgspec.Struct):
    """What went wrong, by Anthropic's types of errors."""

    type: str
    message: str


class MessageError(msgspec.Struct):
    """The body of every error of Anthropic's API."""

    type: Literal["error"]
    error: MessageErrorDetail
    request_id: str
