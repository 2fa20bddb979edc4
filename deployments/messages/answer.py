"""A whole message, and what it has in common with the events of one."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic_core import from_json


def message_head(message_id: str, model: str) -> dict[str, Any]:
    """Return a message that has said nothing yet."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def message_of(completion: Mapping[str, Any], message_id: str, max_tokens: int) -> dict[str, Any]:
    """Return a whole chat completion as a message."""
    choice: Mapping[str, Any] = (completion.get("choices") or [{}])[0]
    message: Mapping[str, Any] = choice.get("message") or {}
    content: list[dict[str, Any]] = []
    if thinking := message.get("reasoning") or message.get("reasoning_content"):
        content.append({"type": "thinking", "thinking": thinking, "signature": signature(thinking)})
    if message.get("content"):
        content.append({"type": "text", "text": message["content"]})
    calls = message.get("tool_calls") or []
    content.extend(_tool_use(call, f"{message_id}_{at}") for at, call in enumerate(calls))
    usage = usage_of(completion.get("usage") or {})
    return {
        **message_head(message_id, str(completion.get("model", ""))),
        "content": content,
        **ending(choice, bool(calls), usage["output_tokens"], max_tokens),
        "usage": usage,
    }


def _tool_use(call: Mapping[str, Any], otherwise: str) -> dict[str, Any]:
    function = call.get("function") or {}
    return {
        "type": "tool_use",
        "id": call.get("id") or f"toolu_{otherwise}",
        "name": function.get("name") or "",
        "input": tool_input(function.get("arguments") or ""),
    }


def tool_input(arguments: str) -> dict[str, Any]:
    """Return the arguments of a call as an object: of one that was cut off, as far as they go."""
    try:
        value = from_json(arguments, allow_partial="trailing-strings") if arguments.strip() else {}
        orjson.dumps(value)
    except (ValueError, TypeError):
        return {}
    return value if isinstance(value, dict) else {}


def signature(thinking: str) -> str:
    """Return what marks a thinking block as whole. Clients return it, and some drop blocks without one."""
    return hashlib.blake2b(thinking.encode(errors="surrogatepass"), digest_size=24).hexdigest()


def usage_of(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return the tokens of a chat completion as Anthropic counts them: what was cached is no part of `input_tokens`."""
    read = int(usage.get("prompt_tokens") or 0)
    cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    return {
        "input_tokens": max(0, read - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": min(cached, read),
        "output_tokens": int(usage.get("completion_tokens") or 0),
    }


def ending(choice: Mapping[str, Any], calls_tools: bool, output_tokens: int, max_tokens: int) -> dict[str, str | None]:
    """Return why a message ended, by the `finish_reason` of a choice and vLLM's `stop_reason`."""
    finish, stopped_by = choice.get("finish_reason"), choice.get("stop_reason")
    if finish == "length":
        is_bound = output_tokens >= max_tokens or not output_tokens
        return _because("max_tokens" if is_bound else "model_context_window_exceeded")
    if finish == "content_filter":
        return _because("refusal")
    if calls_tools:  # vLLM says "stop" of a call that was demanded
        return _because("tool_use")
    if isinstance(stopped_by, str):
        return _because("stop_sequence", stopped_by)
    return _because("end_turn")


def _because(reason: str, sequence: str | None = None) -> dict[str, str | None]:
    return {"stop_reason": reason, "stop_sequence": sequence}
