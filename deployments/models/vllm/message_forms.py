"""Chat messages in forms for chat templates that allow less than OpenAI's API does.

Many templates take one system message, first of all, and turns that alternate
between user and assistant; some know no system message or no tools. They raise,
or print nothing of what they do not expect. Each form here keeps every word and
asks less of the template than the one before it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

ChatMessage = dict[str, Any]
Form = Callable[[Sequence[ChatMessage]], list[ChatMessage]]

INSTRUCTING = ("system", "developer")
NOTHING_ASKED = "…"
"""What the user said before an assistant's message that begins a conversation."""


def with_one_system_message(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return the messages with all system and developer messages as one system message, first of all."""
    instructions = [message for message in messages if message.get("role") in INSTRUCTING]
    others = [message for message in messages if message.get("role") not in INSTRUCTING]
    if not instructions:
        return others
    content = _joined([message.get("content") for message in instructions])
    return [{"role": "system", "content": content}, *others]


def in_turns(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return the messages with one system message, and what one side says in a row as one message."""
    turns: list[ChatMessage] = []
    for message in with_one_system_message(messages):
        if turns and message["role"] == turns[-1]["role"] and message["role"] in ("user", "assistant"):
            turns[-1] = _merged(turns[-1], message)
        else:
            turns.append(message)
    return turns


def as_plain_text(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return user and assistant in turn, the user first; tools are put into words, instructions into user messages."""
    names: dict[str, str] = {}
    converted: list[ChatMessage] = []
    for message in with_one_system_message(messages):
        match message["role"]:
            case "system":
                converted.append({"role": "user", "content": message["content"]})
            case "assistant":
                converted.append({"role": "assistant", "content": _with_calls_as_text(message, names)})
            case "tool" | "function":
                name = names.get(str(message.get("tool_call_id")), message.get("name") or "the tool")
                content = _joined([f"[Result of {name}:", message.get("content"), "]"], "\n")
                converted.append({"role": "user", "content": content})
            case _:
                converted.append({"role": "user", "content": message.get("content") or ""})
    if converted[0]["role"] != "user":
        converted.insert(0, {"role": "user", "content": NOTHING_ASKED})
    return in_turns(converted)


def with_media_noted(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return the messages for a model that reads only text: before the user's last, what is not text becomes a note.

    A conversation that a model with eyes has begun can be continued by one without;
    what is asked about now stays, for the model to refuse.
    """
    last = max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=0)
    return [
        {**message, "content": [_noted(part) for part in message["content"]]}
        if at < last and isinstance(message.get("content"), list)
        else message
        for at, message in enumerate(messages)
    ]


def _noted(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    medium = next((medium for medium in ("image", "audio", "video") if isinstance(kind, str) and medium in kind), None)
    return part if medium is None else {"type": "text", "text": f"[{medium}: this model reads only text]"}


FORMS: tuple[Form, ...] = (with_one_system_message, in_turns, as_plain_text)
"""What is tried where a template refuses the messages as they are."""


def _merged(one: ChatMessage, other: ChatMessage) -> ChatMessage:
    merged = {**one, **other, "content": _joined([one.get("content"), other.get("content")])}
    if calls := [*(one.get("tool_calls") or ()), *(other.get("tool_calls") or ())]:
        merged["tool_calls"] = calls
    return merged


def _with_calls_as_text(message: Mapping[str, Any], names: dict[str, str]) -> str | list[Any]:
    texts: list[Any] = [message.get("content")]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        names[call["id"]] = function["name"]
        given = function["arguments"]
        arguments = given if isinstance(given, str) else orjson.dumps(given).decode()
        texts.append(f"[Called {function['name']}({arguments})]")
    return _joined(texts)


def _joined(contents: Sequence[Any], between: str = "\n\n") -> str | list[Any]:
    """Return contents one after the other: as a text, or as parts where one of them has parts."""
    there = [content for content in contents if content]
    if all(isinstance(content, str) for content in there):
        return between.join(there)
    parts: list[Any] = []
    for content in there:
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content
    return parts
