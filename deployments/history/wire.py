"""Between OpenAI's shapes and stored items: conversation items, chat messages and answers."""

from collections.abc import Iterable, Mapping
from typing import Any

from deployments.history.types import Item, NewItem, Status


def item_of_message(message: Mapping[str, Any], status: Status) -> NewItem:
    """Return a chat message as an item, which has no id yet."""
    role = str(message["role"])
    kept = {name: message[name] for name in ("tool_calls", "tool_call_id", "name") if message.get(name)}
    return NewItem(role=role, status=status, payload={"content": _parts(role, message.get("content")), **kept})


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
    """Return a stored item as the chat message that it was."""
    parts = item.payload.get("content") or []
    texts = [part["text"] for part in parts if part.get("type") in ("input_text", "output_text")]
    if len(texts) == len(parts):
        content: Any = "".join(texts) if parts else None
    else:
        content = [_chat_part(part) for part in parts]
    kept = {name: item.payload[name] for name in ("tool_calls", "tool_call_id", "name") if name in item.payload}
    return {"role": item.role, "content": content, **kept}


def _chat_part(part: Mapping[str, Any]) -> dict[str, Any]:
    match part.get("type"):
        case "input_text" | "output_text":
            return {"type": "text", "text": part["text"]}
        case "input_image" if "image_url" in part:
            return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail", "auto")}}
        case "refusal":
            return {"type": "text", "text": part["refusal"]}
        case _:
            return dict(part)


def messages_of_items(items: Iterable[Item | NewItem]) -> list[dict[str, Any]]:
    """Return stored items as the chat messages that they were.

    Reasoning, text and function calls in a row are one message of the assistant.
    """
    messages: list[dict[str, Any]] = []
    pending: dict[str, Any] | None = None  # the assistant's message that may still grow
    for item in items:
        piece = _assistant_piece(item)
        if piece is None or pending is None or not _continues(pending, piece):
            pending = piece
            messages.append(piece if piece is not None else _other_message(item))
        else:
            _extend(pending, piece)
    return [message for message in messages if not _is_empty(message)]


def _assistant_piece(item: Item | NewItem) -> dict[str, Any] | None:
    payload = item.payload
    if item.type == "reasoning":
        parts = payload.get("content") or payload.get("summary") or []
        return {"role": "assistant", "content": None, "reasoning": "".join(str(part.get("text", "")) for part in parts)}
    if item.type == "function_call":
        function = {"name": payload["name"], "arguments": payload["arguments"]}
        call = {"id": payload["call_id"], "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    return message_of_item(item) if item.role == "assistant" else None


def _other_message(item: Item | NewItem) -> dict[str, Any]:
    if item.type != "function_call_output":
        return message_of_item(item)
    output = item.payload.get("output")
    if isinstance(output, list):
        output = "".join(str(part.get("text", "")) for part in output)
    return {"role": "tool", "tool_call_id": item.payload.get("call_id"), "content": output}


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
