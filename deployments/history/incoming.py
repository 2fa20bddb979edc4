"""What a client may add to a conversation: the types of OpenAI's items that a chat model reads or writes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from deployments.errors import BadRequest
from deployments.history.readable import check_arguments
from deployments.history.types import NewItem, new_id
from deployments.history.wire import item_of_message
from deployments.infra.json_types import in_json_terms

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class InputText(msgspec.Struct, tag_field="type", tag="input_text"):
    """Text to the model."""

    text: str


class OutputText(msgspec.Struct, tag_field="type", tag="output_text", omit_defaults=True):
    """Text of the model."""

    text: str
    annotations: list[dict[str, Any]] = []
    logprobs: list[dict[str, Any]] = []


class PlainText(msgspec.Struct, tag_field="type", tag="text"):
    """Text of either side."""

    text: str


class Refusal(msgspec.Struct, tag_field="type", tag="refusal"):
    """What the model said instead of an answer."""

    refusal: str


class InputImage(msgspec.Struct, tag_field="type", tag="input_image", omit_defaults=True):
    """An image, by its address or as a data URL; one by the id of a file is refused."""

    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["low", "high", "auto", "original"] = "auto"


class InputFile(msgspec.Struct, tag_field="type", tag="input_file", omit_defaults=True):
    """A file: known by its shape, so that it can be refused in words."""

    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None


class SummaryText(msgspec.Struct, tag_field="type", tag="summary_text"):
    """A summary of reasoning."""

    text: str


class ReasoningText(msgspec.Struct, tag_field="type", tag="reasoning_text"):
    """Reasoning as the model wrote it."""

    text: str


class Message(msgspec.Struct, omit_defaults=True):
    """A message; the three last fields are those of a chat message with tools."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[InputText | OutputText | PlainText | Refusal | InputImage | InputFile]
    status: ItemStatus | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class FunctionCall(msgspec.Struct, omit_defaults=True):
    """A call of a function, `arguments` in JSON."""

    call_id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    arguments: str
    status: ItemStatus | None = None


class FunctionCallOutput(msgspec.Struct, omit_defaults=True):
    """What a function returned."""

    call_id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    output: str | list[InputText | InputImage | InputFile]
    status: ItemStatus | None = None


class Reasoning(msgspec.Struct, omit_defaults=True):
    """What a reasoning model thought."""

    summary: list[SummaryText]
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: ItemStatus | None = None


TYPES: Mapping[str, tuple[type[Message | FunctionCall | FunctionCallOutput | Reasoning], str]] = {
    "message": (Message, "msg"),
    "function_call": (FunctionCall, "fc"),
    "function_call_output": (FunctionCallOutput, "fco"),
    "reasoning": (Reasoning, "rs"),
}
"""By an item's type: its fields, and how its id begins."""


def new_items(items: Sequence[Mapping[str, Any]], limit: int) -> list[NewItem]:
    """Return what a client sends as items, ready to be appended; raises BadRequest that names the field.

    Each gets an id of its own: one that comes along names an item of somewhere else.
    Fields that no item of its type has are left out.
    """
    if len(items) > limit:
        raise BadRequest(f"At most {limit} items can be added at once.", "items")
    return [_new_item(item, f"items[{at}]") for at, item in enumerate(items)]


def _new_item(item: Mapping[str, Any], where: str) -> NewItem:
    kind = item.get("type", "message")
    if not isinstance(kind, str) or kind not in TYPES:
        raise BadRequest(f"The type must be one of {', '.join(TYPES)}.", f"{where}.type")
    schema, prefix = TYPES[kind]
    try:
        fields: dict[str, Any] = msgspec.to_builtins(msgspec.convert(item, schema))
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        field = f"{where}{path.rstrip('`')}"
        raise BadRequest(f"Invalid value for '{field}': {in_json_terms(text)}.", field) from None
    if kind == "function_call":
        check_arguments(fields["arguments"], f"{where}.arguments")
    for name in ("content", "output"):
        _refuse_files(fields.get(name), f"{where}.{name}")
    status = fields.pop("status", None)
    is_whole = status in (None, "completed")
    if kind == "message":
        return item_of_message(fields, "completed" if is_whole else "incomplete")
    return NewItem(fields, new_id(prefix), type=kind, status="completed" if is_whole else "incomplete")


def _refuse_files(parts: object, where: str) -> None:
    """Raise BadRequest for what no model here could read in any later turn."""
    for at, part in enumerate(parts if isinstance(parts, list) else ()):
        if part.get("type") == "input_file":
            raise BadRequest("This service reads no files: send their text as 'input_text'.", f"{where}[{at}].type")
        if part.get("type") == "input_image" and not part.get("image_url"):
            raise BadRequest("An image needs an 'image_url'; this service keeps no files.", f"{where}[{at}].image_url")
