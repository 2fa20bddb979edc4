"""Between OpenAI's shapes and stored items: conversation items, chat messages and answers.

What was stored once, by a client or for a model, must stay readable: items become
messages that every model's parser takes (`history/readable.py`), whatever they hold.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from deployments.history.readable import call_of, part_of, text_of_parts, with_matching_calls
from deployments.history.tool_items import OUTPUTS, call_in, output_in
from deployments.history.types import Context, Item, NewItem, Status


def item_of_message(message: Mapping[str, Any], status: Status) -> NewItem:
    """Return a chat message as an item, which has no id yet."""
    role = str(message["role"])
    kept = {name: message[name] for name in ("tool_calls", "tool_call_id", "name") if message.get(name)}
    parts = _parts(role, message.get("content"))
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    return NewItem(role=role, status=status, payload={"content": parts, **kept})


def _parts(role: str, content: object) -> list[dict[str, Any]]:
    kind = "output_text" if role == "assistant" else "input_text"
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": kind, "text": content}]
    return [
        {**part, "type": kind} if part.get("type") in ("text", kind) else dict(part)
        for part in (content if isinstance(content, list) else [])
        if isinstance(part, dict)
    ]


def message_of_item(item: Item | NewItem) -> dict[str, Any]:
    """Return a stored item as the chat message that it was.

    Only an assistant's content can be null: parsers want a text of everyone else.
    """
    payload, role = item.payload, item.role or "user"
    content = _content(payload.get("content"))
    message: dict[str, Any] = {"role": role, "content": content}
    if role == "assistant":
        message["content"] = content or None
        listed = payload.get("tool_calls")
        calls = [call_of(call, at) for at, call in enumerate(listed)] if isinstance(listed, list) else []
        if known := [call for call in calls if call is not None]:
            message["tool_calls"] = known
    kept = {name: payload[name] for name in ("tool_call_id", "name") if isinstance(payload.get(name), str)}
    return message | kept


def _content(content: object) -> str | list[dict[str, Any]]:
    """Return content as a chat message has it: a text, or parts where something in it is not text."""
    if isinstance(content, str):
        return content
    parts = [part_of(part) for part in content] if isinstance(content, list) else []
    return text_of_parts(parts) if all(part["type"] == "text" for part in parts) else parts


PART_SIZE = 32


def messages_of_items(items: Iterable[Item | NewItem]) -> list[dict[str, Any]]:
    """Return stored items as the chat messages that they were.

    Reasoning, text and function calls in a row are one message of the assistant.
    Items of a type that this version does not know are left out, and so are calls
    that were cut off (see `with_matching_calls`).
    """
    messages: list[dict[str, Any]] = []
    pending: dict[str, Any] | None = None  # the assistant's message that may still grow
    for item in items:
        piece = _assistant_piece(item)
        if piece is not None and pending is not None and _continues(pending, piece):
            _extend(pending, piece)
            continue
        message = piece if piece is not None else _other_message(item)
        if message is not None:
            pending = piece
            messages.append(message)
    return [message for message in with_matching_calls(messages) if not _is_empty(message)]


def messages_of_context(context: Context, added: Iterable[NewItem] = ()) -> list[dict[str, Any]]:
    """Return what was said before, and what is asked, as chat messages.

    Outputs of functions whose calls were cut off at the old end are left out as well: no template prints them.
    """
    items: Iterable[Item | NewItem] = context.items
    if context.cut:
        items = itertools.dropwhile(lambda item: item.type in OUTPUTS or item.role == "tool", items)
    return messages_of_items([*items, *added])


def reading_size(items: Iterable[Item | NewItem]) -> int:
    """Return how much `messages_of_items` has to look at, as `run_sized` counts it: parts and arguments."""
    return sum(map(_size, items))


def _size(item: Item | NewItem) -> int:
    content, arguments = item.payload.get("content"), item.payload.get("arguments")
    parts = len(content) if isinstance(content, list) else 0
    return PART_SIZE * (1 + parts) + (len(arguments) if isinstance(arguments, str) else 0)


def _assistant_piece(item: Item | NewItem) -> dict[str, Any] | None:
    payload = item.payload
    if item.type == "reasoning":
        listed = payload.get("content") or payload.get("summary") or []
        parts = [part for part in listed if isinstance(part, dict)]
        return {"role": "assistant", "content": None, "reasoning": "".join(str(part.get("text", "")) for part in parts)}
    if (given := call_in(item.type, payload)) is not None:
        call = call_of(given, 0)
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    is_answer = item.type == "message" and item.role == "assistant"
    return message_of_item(item) if is_answer else None


def _other_message(item: Item | NewItem) -> dict[str, Any] | None:
    if item.type in OUTPUTS:
        return output_in(item.payload, _content)
    return message_of_item(item) if item.type == "message" else None


def _continues(message: Mapping[str, Any], piece: Mapping[str, Any]) -> bool:
    if "reasoning" in piece:
        return False
    return "tool_calls" in piece or (message.get("content") is None and "tool_calls" not in message)


def _extend(message: dict[str, Any], piece: Mapping[str, Any]) -> None:
    if "tool_calls" in piece:
        message["tool_calls"] = [*message.get("tool_calls", []), *piece["tool_calls"]]
    if piece.get("content") is not None:
        message["content"] = piece["content"]


def _is_empty(message: Mapping[str, Any]) -> bool:
    """Tell an assistant's message that holds nothing a chat template could print, such as reasoning alone."""
    return message["role"] == "assistant" and message.get("content") is None and not message.get("tool_calls")


def answer_of(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message of a chat completion's first choice."""
    choices = completion.get("choices") or [{}]
    return {"role": "assistant", **(choices[0].get("message") or {})}
