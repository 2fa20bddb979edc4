"""OpenAI's messages as LangChain's. Each provider's class writes them in its own API's form."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    FunctionMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolMessage,
)

from deployments.errors import BadRequest

MODALITIES: Mapping[str, str] = {
    "image_url": "image",
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "video",
}


def conversation(messages: Sequence[Mapping[str, Any]], modalities: Sequence[str]) -> list[BaseMessage]:
    """Return LangChain's messages; raises BadRequest for a part that is not of the model's `modalities`.

    Reasoning of earlier answers stays behind: no two providers take it in the same form.
    """
    return [_message(message, f"messages[{at}]", modalities) for at, message in enumerate(messages)]


def _message(message: Mapping[str, Any], where: str, modalities: Sequence[str]) -> BaseMessage:
    content, name = _content(message.get("content"), where, modalities), message.get("name")
    match message["role"]:
        case "system":
            return SystemMessage(content, name=name)
        case "developer":
            return SystemMessage(content, name=name, additional_kwargs={"__openai_role__": "developer"})
        case "user":
            return HumanMessage(content, name=name)
        case "assistant":
            calls, broken = _calls(message.get("tool_calls") or (), where)
            return AIMessage(content, name=name, tool_calls=calls, invalid_tool_calls=broken)
        case "tool":
            if not isinstance(message.get("tool_call_id"), str):
                raise BadRequest("The output of a tool needs the 'tool_call_id' of its call.", f"{where}.tool_call_id")
            return ToolMessage(content, tool_call_id=message["tool_call_id"], name=name)
        case role:
            if role == "function" and isinstance(name, str):
                return FunctionMessage(content=content, name=name)
            raise BadRequest(f"Messages of the role {role!r} are not supported here.", f"{where}.role")


def _content(content: Any, where: str, modalities: Sequence[str]) -> str | list[str | dict[Any, Any]]:
    if not isinstance(content, list):
        return content or ""
    parts: list[str | dict[Any, Any]] = []
    for at, part in enumerate(content):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        kind = part.get("type")
        if kind == "refusal":
            parts.append({"type": "text", "text": part["refusal"]})
        elif kind == "text" or MODALITIES.get(kind) in modalities:
            parts.append({"type": kind, kind: part.get(kind)})
        else:
            raise BadRequest(
                f"The model supports only {' and '.join(modalities)} input.", f"{where}.content[{at}].type"
            )
    return parts


def _calls(calls: Any, where: str) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Return the calls, and those whose arguments are not a JSON object: a model wrote them, and was told so."""
    good: list[ToolCall] = []
    broken: list[InvalidToolCall] = []
    for at, call in enumerate(calls):
        try:
            identifier, name, text = call["id"], call["function"]["name"], call["function"]["arguments"]
        except (KeyError, TypeError, IndexError):
            raise BadRequest("A call needs an 'id' and a 'function'.", f"{where}.tool_calls[{at}]") from None
        try:
            arguments = json.loads(text) if text else {}
        except (ValueError, TypeError, RecursionError):
            arguments = None
        if isinstance(arguments, dict):
            good.append(ToolCall(name=name, args=arguments, id=identifier, type="tool_call"))
        else:
            broken.append(
                InvalidToolCall(name=name, args=str(text), id=identifier, error=None, type="invalid_tool_call")
            )
    return good, broken
