"""Which tools the scripted model calls, and with what arguments."""

import hashlib
import re
from typing import Any

import orjson

from deployments.errors import BadRequest
from deployments.models.scripted.prompt import Offer, last_message, last_question
from deployments.models.scripted.schema import instance

PARTS = re.compile(r"[^a-zA-Z0-9]+|(?<=[a-z])(?=[A-Z])")
COMMON = frozenset({"tool", "function"})
PIECE_CHARACTERS = 8


def tool_calls(request: dict[str, Any], choice: int) -> list[dict[str, Any]]:
    """Return the calls of one choice in OpenAI's shape; [] if it answers with text.

    With `tool_choice` "auto" a tool is called when the last message is the user's
    and holds the tool's name or a part of it of four letters or more ("weather"
    for `get_weather`); every tool that is mentioned, but one alone where
    `parallel_tool_calls` is false.
    """
    functions = [tool["function"] for tool in request.get("tools") or [] if tool.get("type", "function") == "function"]
    offer = Offer(last_question(request["messages"]))
    return [
        {
            "id": _call_id(request["messages"], choice, at),
            "type": "function",
            "function": {
                "name": function["name"],
                "arguments": orjson.dumps(
                    instance({"type": "object", **(function.get("parameters") or {})}, offer)
                ).decode(),
            },
        }
        for at, function in enumerate(_chosen(functions, request))
    ]


def call_deltas(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the deltas that stream `calls`: each call's name first, then its arguments in pieces."""
    deltas: list[dict[str, Any]] = []
    for index, call in enumerate(calls):
        function = call["function"]
        opening = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
        deltas.append({"tool_calls": [opening]})
        text = function["arguments"]
        for start in range(0, len(text), PIECE_CHARACTERS):
            piece = {"index": index, "function": {"arguments": text[start : start + PIECE_CHARACTERS]}}
            deltas.append({"tool_calls": [piece]})
    return deltas


def _chosen(functions: list[dict[str, Any]], request: dict[str, Any]) -> list[dict[str, Any]]:
    choice = request.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        named = [function for function in functions if function["name"] == name]
        if not named:
            raise BadRequest(f"'tool_choice' names {name!r}, which is not among the tools.", "tool_choice")
        return named[:1]
    if choice == "none" or not functions:
        return []
    words = set(re.findall(r"\w+", last_question(request["messages"]).lower()))
    mentioned = [function for function in functions if _names(function["name"]) & words]
    if choice == "required":
        mentioned = mentioned or functions[:1]
    elif last_message(request["messages"]).get("role") != "user":
        return []
    return mentioned[:1] if request.get("parallel_tool_calls") is False else mentioned


def _names(name: str) -> set[str]:
    parts = {part.lower() for part in PARTS.split(name)}
    return {name.lower()} | {part for part in parts - COMMON if len(part) >= 4}


def _call_id(messages: list[dict[str, Any]], choice: int, at: int) -> str:
    return f"call_{hashlib.sha256(orjson.dumps([messages, choice, at])).hexdigest()[:24]}"
