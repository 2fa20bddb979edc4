"""`functions` and `function_call`: what tools were called before there were tools, which OpenAI's API still takes.

A model is asked for tools; its answer is written back for a client that offered functions.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from deployments.chat.call import Answer
from deployments.errors import BadRequest
from deployments.models.assembly import DATA, DONE, sse

EVENT_END = b"\n\n"


def with_tools(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a well-formed request with tools for its functions, in the messages too; BadRequest if it has both."""
    functions, choice = request.get("functions"), request.get("function_call")
    kept = {name: value for name, value in request.items() if name not in ("functions", "function_call")}
    kept["messages"] = _with_tool_messages(request["messages"])
    if functions is None and choice is None:
        return kept
    if kept.get("tools") or kept.get("tool_choice"):
        raise BadRequest("'functions' and 'tools' cannot be used together; 'functions' is the older name.", "functions")
    if not functions:
        raise BadRequest("'function_call' is only allowed together with 'functions'.", "function_call")
    kept["tools"] = [{"type": "function", "function": function} for function in functions]
    kept["tool_choice"] = choice if choice in (None, "none", "auto") else {"type": "function", "function": choice}
    kept["parallel_tool_calls"] = False
    return kept


def with_function_call(answer: Answer) -> Answer:
    """Return an answer whose tool call is the `function_call` of its message, or of the deltas of its events."""
    if answer.frames is not None:
        return Answer(frames=_frames(answer.frames), waits_for=answer.waits_for)
    completion = orjson.loads(answer.body)
    for choice in completion["choices"]:
        _rename(choice, choice["message"])
    return Answer(orjson.dumps(completion))


def _with_tool_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages in which what a function returned answers the last call of that name."""
    ids: dict[Any, str] = {}
    return [_with_tool_message(message, ids, at) for at, message in enumerate(messages)]


def _with_tool_message(message: dict[str, Any], ids: dict[Any, str], at: int) -> dict[str, Any]:
    call, name = message.get("function_call"), message.get("name")
    if call is None:
        is_answer = message["role"] == "function" and isinstance(name, str) and name in ids
        return {**message, "role": "tool", "tool_call_id": ids[name]} if is_answer else message
    if not isinstance(call, dict) or not all(isinstance(call.get(key), str) for key in ("name", "arguments")):
        place = f"messages[{at}].function_call"
        raise BadRequest("'function_call' must have a 'name' and 'arguments', both strings.", place)
    ids[call["name"]] = id_ = f"call_{at}"
    kept = {field: value for field, value in message.items() if field != "function_call"}
    return {**kept, "tool_calls": [{"id": id_, "type": "function", "function": call}]}


async def _frames(frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(frames):
        async for frame in frames:
            yield b"".join(_event(event + EVENT_END) for event in frame.split(EVENT_END)[:-1])


def _event(event: bytes) -> bytes:
    if event == DONE or b'"tool_calls"' not in event:
        return event
    chunk = orjson.loads(event.removeprefix(DATA))
    for choice in chunk["choices"]:
        _rename(choice, choice["delta"])
    return sse(chunk)


def _rename(choice: dict[str, Any], message: dict[str, Any]) -> None:
    """Write the first of the tool calls as the one function call; another would have no place."""
    for call in message.pop("tool_calls", None) or ():
        if call.get("index", 0) == 0 and "function_call" not in message:
            message["function_call"] = call["function"]
    if choice.get("finish_reason") == "tool_calls":
        choice["finish_reason"] = "function_call"
