"""A stored item as OpenAI's types describe it (`openai.types.conversations.ConversationItem`)."""

from typing import Any

from deployments.history.types import Item

TEXTS = ("text", "input_text", "output_text")


def shown(item: Item) -> dict[str, Any]:
    """Return an item for a client: in OpenAI's shape, with `parent_id` and `created_at` besides."""
    fields = {
        **item.payload,
        "id": item.id,
        "type": item.type,
        "status": item.status,
        "parent_id": item.parent_id,
        "created_at": int(item.created_at.timestamp()),
    }
    if item.type == "message":
        kind = "output_text" if item.role == "assistant" else "input_text"
        fields |= {"role": item.role, "content": [_part(part, kind) for part in item.payload.get("content") or []]}
    elif item.type == "function_call_output" and isinstance(item.payload.get("output"), list):
        fields["output"] = [_part(part, "input_text") for part in item.payload["output"]]
    elif item.type == "reasoning":
        fields.setdefault("summary", [])
    return fields


def _part(part: dict[str, Any], text_kind: str) -> dict[str, Any]:
    """Return a part with the fields that its type requires; chat completions have shapes of their own for some."""
    kind = part.get("type")
    if kind in TEXTS:
        extra = {"annotations": part.get("annotations") or []} if text_kind == "output_text" else {}
        return {**part, "type": text_kind, **extra}
    if kind == "image_url":
        image = part.get("image_url")
        address, detail = (image.get("url"), image.get("detail")) if isinstance(image, dict) else (image, None)
        return {"type": "input_image", "image_url": address, "detail": detail or "auto"}
    if kind == "input_image":
        return {"detail": "auto", **part}
    return part
