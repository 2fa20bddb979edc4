"""The parts of chat messages: those of responses mean the same here, and what no model reads is refused in words."""

from collections.abc import Mapping
from typing import Any

from deployments.errors import BadRequest

TEXTS = frozenset({"text", "input_text", "output_text"})
MEDIA = frozenset(
    {
        *("image_url", "image_embeds", "input_audio", "audio_url", "audio_embeds", "video_url", "video_embeds"),
        *("prompt_embeds", "image_pil", "thinking", "tool_reference"),
    }
)
"""What vLLM reads besides text and refusals; whether the model can, it says itself."""


def with_chat_parts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages whose parts are those of chat completions; raises BadRequest, naming the part."""
    return [
        {**message, "content": [_part(part, f"messages[{at}].content[{n}]") for n, part in enumerate(content)]}
        if isinstance(content := message.get("content"), list)
        else message
        for at, message in enumerate(messages)
    ]


def _part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind is not None and not isinstance(kind, str):
        raise BadRequest("The 'type' of a part must be a string, such as 'text'.", f"{where}.type")
    if kind in TEXTS:
        return {**_with_text(part, "text", where), "type": "text"}
    if kind == "refusal":
        return _with_text(part, "refusal", where)
    if kind == "input_image":
        return _image(part, where)
    if kind == "image_url" and "uuid" not in part and not _is_address(part.get("image_url")):
        raise BadRequest("'image_url' must be an object with the image's 'url'.", f"{where}.image_url")
    if kind in MEDIA or (kind is None and not MEDIA.isdisjoint(part)):
        return dict(part)
    if kind is None:
        raise BadRequest("A part of a message needs a 'type', such as 'text'.", f"{where}.type")
    raise BadRequest(f"Parts of the type {kind[:64]!r} are not supported here.", f"{where}.type")


def _with_text(part: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    if not isinstance(part.get(name), str):
        raise BadRequest(f"'{name}' must be a string.", f"{where}.{name}")
    return dict(part)


def _image(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(part.get("image_url"), str):
        raise BadRequest("An image needs an 'image_url'; this service keeps no files.", f"{where}.image_url")
    return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail") or "auto"}}


def _is_address(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, Mapping) and isinstance(value.get("url"), str))
