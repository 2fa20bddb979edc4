"""Export as Markdown or JSON, and import from JSON."""

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from ui.api.client import Api
from ui.api.errors import ApiError
from ui.api.schema import Conversation, Message
from ui.files.images import content_parts
from ui.i18n import t
from ui.state.tree import Tree, folded

MAX_EXPORTED = 10_000
MAX_IMPORT_BYTES = 16 * 1024 * 1024
ITEMS_AT_ONCE = 20  # what the service takes in one call
FORMAT = "chatllm-conversation"


class ExportedMessage(BaseModel):
    """A message of an exported conversation; `parent` is the place of the one that it follows, from 0 on."""

    role: str = Field(pattern="^(user|assistant|system)$")
    text: str = Field(max_length=2_000_000)
    parent: int | None = None


class Exported(BaseModel):
    """An exported conversation, with all its branches."""

    format: str = Field(pattern=f"^{FORMAT}$")
    title: str = Field(default="", max_length=200)
    metadata: dict[str, str] = Field(default={}, max_length=16)
    messages: list[ExportedMessage] = Field(max_length=MAX_EXPORTED)


async def all_messages(api: Api, conversation_id: str) -> list[Message]:
    """Return all messages of all branches, oldest first. Raises `ApiError`."""
    found: list[Message] = []
    after: str | None = None
    while len(found) < MAX_EXPORTED:
        page = await api.messages(conversation_id, after=after, limit=100, order="asc")
        found += page.data
        if not page.has_more or not page.data:
            break
        after = page.data[-1].id
    return [message for message in folded(found) if message.role]


def as_markdown(title: str, stored: Sequence[Message]) -> str:
    """Return the shown branch as Markdown, one heading per turn."""
    names = {"user": t("You"), "assistant": t("Assistant"), "system": t("System prompt")}
    parts = [f"# {title}\n"]
    parts += [f"## {names.get(entry.role, entry.role)}\n\n{entry.text.strip()}\n" for entry in Tree(stored).path()]
    return "\n".join(parts)


def as_json(conversation: Conversation, stored: Sequence[Message]) -> str:
    """Return all branches as JSON, for import."""
    places = {message.id: at for at, message in enumerate(stored)}
    messages = [ExportedMessage(role=m.role, text=m.text, parent=places.get(m.parent_id or "")) for m in stored]
    exported = Exported(
        format=FORMAT, title=conversation.title or "", metadata=conversation.metadata, messages=messages
    )
    return json.dumps(exported.model_dump(), ensure_ascii=False, indent=1)


def file_name(title: str, ending: str) -> str:
    """Return a harmless name for the file."""
    plain = re.sub(r"[^\w-]+", "-", title).strip("-")[:60]
    return f"{plain or 'conversation'}.{ending}"


def read_export(content: bytes) -> Exported:
    """Read an exported file. Raises `ApiError` for anything else."""
    try:
        return Exported.model_validate_json(content)
    except ValidationError as error:
        raise ApiError("not_an_export") from error


async def bring_in(api: Api, exported: Exported) -> Conversation:
    """Store an exported conversation as a new one, branch by branch. Raises `ApiError`."""
    created = await api.create_conversation(exported.title, exported.metadata)
    ids: list[str] = []
    at = 0
    while at < len(exported.messages):
        parent = exported.messages[at].parent
        end = at + 1
        while end < min(len(exported.messages), at + ITEMS_AT_ONCE) and exported.messages[end].parent == end - 1:
            end += 1
        items: list[dict[str, Any]] = [
            {
                "type": "message",
                "role": entry.role,
                "content": content_parts(entry.text) if entry.role == "user" else entry.text,
            }
            for entry in exported.messages[at:end]
        ]
        after = ids[parent] if parent is not None and 0 <= parent < len(ids) else ""
        ids += await api.add_messages(created.id, items, after)
        at = end
    return created
