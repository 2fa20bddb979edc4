"""A response as a client sees it (OpenAI API reference, "The response object")."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deployments.errors import BadRequest, ChatLLMError, NotFound, TooManyRequests
from deployments.responses.types import StoredResponse

ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "safety_identifier",
    "temperature",
    "top_logprobs",
    "top_p",
    "user",
)
"""Parameters that are returned as they were given, or as null."""


def response_object(response: StoredResponse) -> dict[str, Any]:
    """Return the JSON of a response."""
    request = response.request
    reasoning, text = request.get("reasoning", {}), request.get("text", {})
    return {
        "id": response.id,
        "object": "response",
        "created_at": _seconds(response.created_at),
        "completed_at": _seconds(response.completed_at) if response.status == "completed" else None,
        "status": response.status,
        "background": response.is_background,
        "error": response.error,
        "incomplete_details": _incomplete(response),
        "model": response.model,
        "output": list(response.output),
        "conversation": None if response.is_hidden else {"id": response.conversation_id},
        "metadata": request.get("metadata", {}),
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": request.get("store", True),
        "text": {"format": text.get("format") or {"type": "text"}, "verbosity": text.get("verbosity") or "medium"},
        "tool_choice": request.get("tool_choice", "auto"),
        "tools": request.get("tools", []),
        "truncation": request.get("truncation", "disabled"),
        "usage": response.usage,
        **{name: request.get(name) for name in ECHOED},
    }


def _seconds(moment: datetime | None) -> int | None:
    return int(moment.timestamp()) if moment else None


def _incomplete(response: StoredResponse) -> dict[str, Any] | None:
    return {"reason": response.incomplete_reason} if response.incomplete_reason else None


def usage_object(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the usage of a chat completion in the terms of a response."""
    if not usage:
        return None
    prompt, completion = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    reasoned = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": int(cached or 0), "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": int(reasoned or 0)},
        "total_tokens": prompt + completion,
    }


def error_object(error: ChatLLMError) -> dict[str, Any]:
    """Return why a response failed.

    OpenAI has fewer codes for this than for requests; `reason` is the request's, and `retry_after_s` its wait.
    """
    code = "server_error"
    if isinstance(error, TooManyRequests):
        code = "rate_limit_exceeded"
    elif isinstance(error, BadRequest | NotFound):
        code = "invalid_prompt"
    wait = {} if error.retry_after_s is None else {"retry_after_s": error.retry_after_s}
    return {"code": code, "message": error.message, "reason": error.code, **wait}
