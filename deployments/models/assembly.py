"""From the events of a streamed completion to the answer it would have been unstreamed.

The shapes are OpenAI's `chat.completion.chunk` and `chat.completion`, and those of
the older `text_completion` (API reference); fields that vLLM adds are kept.
"""

from collections.abc import Iterable
from typing import Any

import orjson

DATA = b"data: "
DONE = b"data: [DONE]\n\n"
TEXT_COMPLETION = "text_completion"


def sse(payload: Any) -> bytes:
    """Return one server-sent event that carries `payload` as JSON."""
    return DATA + orjson.dumps(payload) + b"\n\n"


def payloads(frames: bytes) -> list[dict[str, Any]]:
    """Return the JSON payloads of complete events, without the closing `[DONE]`."""
    events = (event for event in frames.split(b"\n\n") if event and event != DONE[:-2])
    return [orjson.loads(event.removeprefix(DATA)) for event in events]


def is_usage_event(event: bytes) -> bool:
    """Tell the closing event that carries only the usage: its list of choices is empty."""
    at = event.find(b'"choices":[')
    return at != -1 and event[at + 11 : at + 12] == b"]"


def assemble(chunks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Put the chunks of one stream together into a `chat.completion` or `text_completion`.

    Texts and tool call arguments are concatenated, logprobs and token ids are chained, scalars
    take their last value. Chunks must be in the order in which they were sent.
    """
    completion: dict[str, Any] = {"object": "chat.completion", "choices": [], "usage": None}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        completion |= {k: v for k, v in chunk.items() if k not in ("object", "choices") and v is not None}
        if chunk.get("object") == TEXT_COMPLETION:
            completion["object"] = TEXT_COMPLETION
        for part in chunk.get("choices", ()):
            _add_choice(choices.setdefault(part["index"], _empty_choice(part)), part)
    completion["choices"] = [choices[index] for index in sorted(choices)]
    return completion


def _empty_choice(part: dict[str, Any]) -> dict[str, Any]:
    content = {"text": ""} if "text" in part else {"message": {"role": "assistant", "content": None}}
    return {"index": part["index"], **content, "logprobs": None, "finish_reason": None}


def _add_choice(choice: dict[str, Any], part: dict[str, Any]) -> None:
    for name, value in part.items():
        if name == "delta":
            _add_delta(choice["message"], value)
        elif name == "text":
            choice["text"] += value
        elif name == "logprobs" and value:
            _add_logprobs(choice, value)
        elif name == "token_ids" and value is not None:
            choice.setdefault(name, []).extend(value)
        elif name != "index" and value is not None:
            choice[name] = value


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if value is None:
            continue
        if name == "tool_calls":
            _add_tool_calls(message.setdefault("tool_calls", []), value)
        elif name != "role" and isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        else:
            message[name] = value
    if message.get("tool_calls") and not message.get("content"):
        message["content"] = None


def _add_tool_calls(calls: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    for part in parts:
        index = part.get("index", 0)
        while len(calls) <= index:
            calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[index], part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def _add_logprobs(choice: dict[str, Any], logprobs: dict[str, Any]) -> None:
    whole = choice["logprobs"] or {}
    for name, tokens in logprobs.items():
        if tokens:
            whole[name] = (whole.get(name) or []) + tokens
    choice["logprobs"] = whole
