"""The arguments of tool calls in a chat's history, before vLLM decodes them, each in one call. Imports vllm.

What a model has once written comes back with every later turn of its conversation.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vllm.exceptions import VLLMValidationError

MAX_VALUES = 50_000
"""Values in the arguments of one message's calls; a window that held more of them is hard to find."""
SHORT_CHARACTERS = 900
"""What is shorter holds neither a nesting nor an integer that Python refuses to decode."""


def with_readable_arguments(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages whose calls Python can decode; raises VLLMValidationError for more values than a window holds.

    Arguments that are nested too deeply, or have an integer of thousands of digits,
    become {}, as vLLM reads what is not JSON.
    """
    return [_readable(message) if message.get("tool_calls") else message for message in messages]


def _readable(message: dict[str, Any]) -> dict[str, Any]:
    calls = message["tool_calls"]
    values = sum(map(_values, calls)) if isinstance(calls, list) else 0
    if not values:
        return message
    if values > MAX_VALUES:
        text = f"The arguments of a message's tool calls may hold at most {MAX_VALUES} values."
        raise VLLMValidationError(text, parameter="messages")
    return {**message, "tool_calls": [call if _is_readable(call) else _emptied(call) for call in calls]}


def _arguments(call: Any) -> str:
    """Return the arguments of a call that are long enough to be looked at, else ""."""
    function = call.get("function") if isinstance(call, Mapping) else None
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    return arguments if isinstance(arguments, str) and len(arguments) > SHORT_CHARACTERS else ""


def _values(call: Any) -> int:
    arguments = _arguments(call)
    return bool(arguments) + arguments.count(",") + arguments.count("[") + arguments.count("{")


def _is_readable(call: Any) -> bool:
    try:
        json.loads(_arguments(call) or "{}")
    except json.JSONDecodeError:
        return True  # cut off, which vLLM knows
    except (ValueError, RecursionError):
        return False
    return True


def _emptied(call: Mapping[str, Any]) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "arguments": "{}"}}
