"""Items about tools, of OpenAI's many types, as the function calls and outputs that a chat model reads.

What the client runs itself (functions, custom tools, shells, patches) comes in pairs of
a call and its output. What OpenAI's own servers run (web search, code interpreter, …)
was said in one item that no other model can read; the message behind it tells the result.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

CALL_FIELDS: Mapping[str, str] = {
    "local_shell_call": "action",
    "shell_call": "action",
    "apply_patch_call": "operation",
}
"""Calls of tools that have a type of their own, and the field that holds what is asked of the tool."""

OUTPUTS = frozenset(
    {
        *("function_call_output", "custom_tool_call_output"),
        *("local_shell_call_output", "shell_call_output", "apply_patch_call_output"),
    }
)

NOT_READ = frozenset(
    {
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
        *("computer_call", "computer_call_output", "mcp_list_tools", "mcp_call"),
        *("mcp_approval_request", "mcp_approval_response", "tool_search_call", "tool_search_output"),
        *("program", "program_output"),
    }
)
"""Kept as they are, and left out of what a model reads."""


def flat_name(namespace: object, name: object) -> str:
    """Return the name by which a model calls a tool that may stand in a namespace."""
    if not isinstance(namespace, str) or not namespace:
        return str(name or "")
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


def call_in(kind: str, payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the tool call that an item of type `kind` is, as chat messages have it; None for other items."""
    if kind == "function_call":
        arguments = payload.get("arguments")
    elif kind == "custom_tool_call":
        arguments = orjson.dumps({"input": payload.get("input")}).decode()
    elif kind in CALL_FIELDS:
        arguments = orjson.dumps(payload.get(CALL_FIELDS[kind])).decode()
    else:
        return None
    name = (
        kind.removesuffix("_call") if kind in CALL_FIELDS else flat_name(payload.get("namespace"), payload.get("name"))
    )
    return {"id": payload.get("call_id"), "function": {"name": name, "arguments": arguments}}


def output_in(payload: Mapping[str, Any], content_of: Callable[[object], str | list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the message of a tool that an output is; `content_of` reads a text, or parts."""
    output = payload.get("output")
    is_readable = isinstance(output, str) or (isinstance(output, list) and all(map(_is_part, output)))
    content = content_of(output) if is_readable or output is None else orjson.dumps(output).decode()
    return {"role": "tool", "tool_call_id": payload.get("call_id"), "content": content}


def _is_part(value: object) -> bool:
    """Tell a part of a message from what a shell returns."""
    return isinstance(value, Mapping) and isinstance(value.get("type"), str)
