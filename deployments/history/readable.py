"""Makes what was stored readable for every model's parser: parts, tool calls, and which output answers which call.

A conversation keeps what was said as it was said, an answer cut off in the middle
of a tool call and items of earlier versions included. A parser that refused one of
them would refuse every later turn.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import orjson

from deployments.errors import BadRequest

MEDIA = ("image_url", "audio_url", "input_audio", "video_url", "image_embeds", "audio_embeds", "video_embeds")
"""Parts of chat messages that a model's processor reads; whether it can is the model's to say."""


MAX_ARGUMENT_VALUES = 50_000
"""Values in the arguments of one call: decoding them lets no other thread run, for 15 ms."""


def values_in(arguments: str) -> int:
    """Return about how many values there are in JSON."""
    return arguments.count(",") + arguments.count("[") + arguments.count("{")


def check_arguments(arguments: str, where: str) -> None:
    """Raise BadRequest for arguments of a call that no later turn would decode."""
    if values_in(arguments) > MAX_ARGUMENT_VALUES:
        raise BadRequest(f"The arguments of a call may hold at most {MAX_ARGUMENT_VALUES} values.", where)


def part_of(part: object) -> dict[str, Any]:
    """Return a stored part as a chat message has it; what no model can read becomes a note that it was there."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        return _note("part")
    match part.get("type"):
        case "text" | "input_text" | "output_text" | "summary_text" | "reasoning_text":
            return {"type": "text", "text": str(part.get("text") or "")}
        case "refusal":
            return {"type": "text", "text": str(part.get("refusal") or "")}
        case "input_image" if isinstance(part.get("image_url"), str):
            return {
                "type": "image_url",
                "image_url": {"url": part["image_url"], "detail": part.get("detail") or "auto"},
            }
        case "input_image" | "image_url" if not part.get("image_url"):
            return _note("image")
        case "input_file" | "file":
            return _note("file", part.get("filename"))
        case kind if kind in MEDIA:
            return dict(part)
        case _:
            return _note("part")


def _note(kind: str, name: object = None) -> dict[str, Any]:
    named = f" named {name[:200]!r}" if isinstance(name, str) and name else ""
    return {"type": "text", "text": f"[A {kind}{named} that cannot be shown here.]"}


def text_of_parts(parts: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of parts that are all texts."""
    return "".join(str(part["text"]) for part in parts)


def call_of(call: object, position: int) -> dict[str, Any] | None:
    """Return a tool call with all that a parser wants of it; None for what names no tool."""
    if not isinstance(call, Mapping):
        return None
    function, custom = call.get("function"), call.get("custom")
    if isinstance(custom, Mapping):
        function = {"name": custom.get("name"), "arguments": orjson.dumps({"input": custom.get("input")}).decode()}
    if not isinstance(function, Mapping) or not function.get("name"):
        return None
    given, arguments = call.get("id"), function.get("arguments")
    if isinstance(arguments, Mapping):
        arguments = orjson.dumps(arguments).decode()
    return {
        "id": given if isinstance(given, str) and given else f"call_{position}",
        "type": "function",
        "function": {"name": str(function["name"]), "arguments": arguments if isinstance(arguments, str) else ""},
    }


def with_matching_calls(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return chat messages whose tool calls all have arguments that are a JSON object, and whose outputs have ids.

    Arguments that are another JSON value, or empty, become {}, as vLLM reads them.
    A call whose arguments are not JSON was cut off: unless an output answers it, it
    is left out, because to the model it would be a call that it never made. An
    output without an id answers the oldest call that is still open.
    """
    answered = {message.get("tool_call_id") or None for message in messages if message["role"] == "tool"}
    readable: list[dict[str, Any]] = []
    open_ids: list[str] = []
    for message in messages:
        if message.get("tool_calls"):
            readable.append(_with_readable_calls(message, answered))
            open_ids = [call["id"] for call in readable[-1].get("tool_calls", ())]
        elif message["role"] == "tool":
            used = message.get("tool_call_id") or next(iter(open_ids), "call_0")
            open_ids = [id_ for id_ in open_ids if id_ != used]
            readable.append({**message, "tool_call_id": used})
        else:
            readable.append(message)
    return readable


def _with_readable_calls(message: Mapping[str, Any], answered: Set[str | None]) -> dict[str, Any]:
    """Return a message without the calls that were cut off; None among `answered` may answer any of them."""
    calls: list[dict[str, Any]] = []
    for call in message["tool_calls"]:
        value = None if call is None else _json(call["function"]["arguments"])
        if call is None or (value is None and answered.isdisjoint((call["id"], None))):
            continue
        arguments = call["function"]["arguments"] if value and isinstance(value, dict) else "{}"
        calls.append({**call, "function": {**call["function"], "arguments": arguments}})
    kept = {name: value for name, value in message.items() if name != "tool_calls"}
    return kept | ({"tool_calls": calls} if calls else {})


def _json(arguments: str) -> Any:
    """Return the value of a call's arguments, {} for empty ones and for null, None where they are not JSON."""
    if values_in(arguments) > MAX_ARGUMENT_VALUES:
        return None
    try:
        value = orjson.loads(arguments) if arguments.strip() else {}
    except orjson.JSONDecodeError:
        return None
    return {} if value is None else value
