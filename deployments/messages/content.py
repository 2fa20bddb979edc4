"""The messages of a message request as chat messages, block by block.

A user's message can hold results of tools, which are messages of their own in a chat;
images in them follow in a message of the user, since chat models read none in a tool's.
`cache_control` and citations change nothing that a model reads, and are passed over.
(Anthropic API reference, "Create a Message".)
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from deployments.errors import BadRequest

Block = Mapping[str, Any]
Part = dict[str, Any]

IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})

ATTRIBUTION = "x-anthropic-billing-header"
"""What begins a block that Claude Code puts first of all: of no meaning to a model, and another in each request,
so that no prefix of a prompt would ever be found in the engine's cache."""


def system_message(system: str | Sequence[Block]) -> list[dict[str, Any]]:
    """Return the `system` field as a chat message, none if it says nothing."""
    text = system if isinstance(system, str) else _text_of_blocks(system, "system")
    return [{"role": "system", "content": text}] if text else []


def chat_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return `messages` as a chat model reads them; raises BadRequest, naming the block."""
    found: list[dict[str, Any]] = []
    for at, message in enumerate(messages):
        role, content, where = message["role"], message["content"], f"messages[{at}].content"
        if isinstance(content, str):
            found.append({"role": role, "content": content})
        elif role == "assistant":
            found.append(_assistant(content, where))
        elif role == "system":
            found.append({"role": "system", "content": _text_of_blocks(content, where)})
        else:
            found.extend(_user(content, where))
    return found


def _text_of_blocks(blocks: Sequence[Block], where: str) -> str:
    for at, block in enumerate(blocks):
        if block.get("type") != "text":
            raise BadRequest("A system prompt can only contain text.", f"{where}[{at}].type")
    texts = [_text(block, "text", f"{where}[{at}]") for at, block in enumerate(blocks)]
    return "\n\n".join(text for text in texts if text and not text.startswith(ATTRIBUTION))


def _assistant(blocks: Sequence[Block], where: str) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for at, block in enumerate(blocks):
        place = f"{where}[{at}]"
        match block.get("type"):
            case "text":
                texts.append(_text(block, "text", place))
            case "thinking":
                thoughts.append(_text(block, "thinking", place))
            case "redacted_thinking":
                pass  # only who encrypted it can read it
            case "tool_use":
                calls.append(_call(block, place))
            case kind:
                raise _unsupported(kind, place, "an assistant's message")
    message: dict[str, Any] = {"role": "assistant", "content": "\n\n".join(texts)}
    if calls:
        message |= {"content": message["content"] or None, "tool_calls": calls}
    return message | ({"reasoning": "\n\n".join(thoughts)} if thoughts else {})


def _call(block: Block, where: str) -> dict[str, Any]:
    given = block.get("input", {})
    if not isinstance(given, dict):
        raise BadRequest("The input of a tool is an object.", f"{where}.input")
    name = _text(block, "name", where)
    if not name:
        raise BadRequest("A call of a tool needs the tool's 'name'.", f"{where}.name")
    function = {"name": name, "arguments": orjson.dumps(given).decode()}
    return {"id": _text(block, "id", where), "type": "function", "function": function}


def _user(blocks: Sequence[Block], where: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    parts: list[Part] = []
    for at, block in enumerate(blocks):
        place = f"{where}[{at}]"
        if block.get("type") != "tool_result":
            parts.extend(_parts(block, place))
            continue
        if parts and not (messages and messages[-1]["role"] == "tool"):
            messages.append(_user_message(parts))
            parts = []
        result, images = _result(block, place)
        messages.append(result)
        parts.extend(images)
    return [*messages, _user_message(parts)] if parts or not messages else messages


def _user_message(parts: list[Part]) -> dict[str, Any]:
    """Return a user's message; as a text where it is one, which every chat template takes."""
    is_text = len(parts) == 1 and parts[0]["type"] == "text"
    return {"role": "user", "content": parts[0]["text"] if is_text else parts or ""}


def _result(block: Block, where: str) -> tuple[dict[str, Any], list[Part]]:
    """Return the message of a tool, and the images that were in it."""
    content: Any = block.get("content") or ""
    if isinstance(content, str):
        parts: list[Part] = [{"type": "text", "text": content}]
    else:
        parts = _nested(content, f"{where}.content")
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if block.get("is_error") and not text.lower().startswith(("error", "<tool_use_error>")):
        text = f"Error: {text}"
    message = {"role": "tool", "tool_call_id": _text(block, "tool_use_id", where), "content": text}
    return message, [part for part in parts if part["type"] != "text"]


def _nested(content: Any, where: str) -> list[Part]:
    if not isinstance(content, list):
        raise BadRequest("The content must be a string or a list of blocks.", where)
    parts: list[Part] = []
    for at, block in enumerate(cast("list[Any]", content)):
        if not isinstance(block, Mapping):
            raise BadRequest("A block must be an object.", f"{where}[{at}]")
        parts.extend(_parts(cast("Block", block), f"{where}[{at}]"))
    return parts


def _parts(block: Block, where: str) -> list[Part]:
    """Return what a user's block says, as parts of a chat message."""
    match block.get("type"):
        case "text":
            return [{"type": "text", "text": _text(block, "text", where)}]
        case "image":
            return [_image(_source(block, where), f"{where}.source")]
        case "document":
            return _document(block, where)
        case "search_result":
            head = f"{_text(block, 'title', where)}\n{_text(block, 'source', where)}"
            return [{"type": "text", "text": head}, *_nested(block.get("content"), f"{where}.content")]
        case "tool_reference":
            return [{"type": "text", "text": f"[The tool {_text(block, 'tool_name', where)}]"}]
        case kind:
            raise _unsupported(kind, where, "a user's message")


def _document(block: Block, where: str) -> list[Part]:
    source = _source(block, where)
    heads = [block[name] for name in ("title", "context") if isinstance(block.get(name), str)]
    match source.get("type"):
        case "text":
            parts: list[Part] = [{"type": "text", "text": _text(source, "data", f"{where}.source")}]
        case "content":
            content = source.get("content")
            given = [{"type": "text", "text": content}] if isinstance(content, str) else content
            parts = _nested(given, f"{where}.source.content")
        case _:
            raise BadRequest(
                "Only documents of plain text are read here: send a source of type 'text' or 'content'.",
                f"{where}.source.type",
            )
    return [{"type": "text", "text": head} for head in heads if head] + parts


def _image(source: Block, where: str) -> Part:
    match source.get("type"):
        case "base64":
            kind, data = source.get("media_type"), _text(source, "data", where)
            if kind not in IMAGES:
                raise BadRequest(f"An image is one of {', '.join(sorted(IMAGES))}.", f"{where}.media_type")
            url = f"data:{kind};base64,{data}"
        case "url":
            url = _text(source, "url", where)
        case _:
            raise BadRequest("An image's source is of type 'base64' or 'url'; this service keeps no files.", where)
    return {"type": "image_url", "image_url": {"url": url}}


def _source(block: Block, where: str) -> Block:
    source = block.get("source")
    if not isinstance(source, Mapping):
        raise BadRequest("An image or a document needs a 'source'.", f"{where}.source")
    return cast("Block", source)


def _text(block: Block, name: str, where: str) -> str:
    if not isinstance(block.get(name), str):
        raise BadRequest(f"'{name}' must be a string.", f"{where}.{name}")
    return block[name]


def _unsupported(kind: object, where: str, place: str) -> BadRequest:
    if not isinstance(kind, str):
        return BadRequest("A block needs a 'type', such as 'text'.", f"{where}.type")
    return BadRequest(f"Blocks of the type {kind[:64]!r} are not supported in {place}.", f"{where}.type")
