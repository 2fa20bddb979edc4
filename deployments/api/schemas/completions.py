"""What a generated answer looks like, whole and in pieces; for its description, not for making it."""

from typing import Any, Literal

import msgspec

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class TokenUsage(msgspec.Struct):
    """Tokens of a request and its answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(msgspec.Struct):
    """What the model said. Reasoning models add `reasoning`; `function_call` answers a request with `functions`."""

    role: Literal["assistant"]
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    reasoning: str | None = None


class Choice(msgspec.Struct):
    """One of `n` answers."""

    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: dict[str, Any] | None = None


class ChatCompletion(msgspec.Struct):
    """A whole answer (OpenAI API reference, "The chat completion object")."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: TokenUsage | None = None


class Delta(msgspec.Struct):
    """A piece of an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning: str | None = None


class ChunkChoice(msgspec.Struct):
    """A piece of one of `n` answers."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: dict[str, Any] | None = None


class ChatCompletionChunk(msgspec.Struct):
    """One event of a streamed answer; the last one before `[DONE]` has the usage, if it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: TokenUsage | None = None


class TextChoice(msgspec.Struct):
    """One of the continuations."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None = None
    logprobs: dict[str, Any] | None = None


class Completion(msgspec.Struct):
    """Continuations, and a piece of them in a stream (OpenAI API reference, "The completion object")."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: TokenUsage | None = None
