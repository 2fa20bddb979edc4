"""The input of a response as items, in the shapes in which OpenAI lists them."""

from collections.abc import Mapping, Sequence
from typing import Any

from deployments.errors import BadRequest
from deployments.history.readable import check_arguments
from deployments.history.tool_items import CALL_FIELDS, NOT_READ, OUTPUTS
from deployments.history.types import NewItem, new_id
from deployments.responses.references import ItemReference

ROLES = frozenset({"user", "assistant", "system", "developer"})


def new_items(given: str | Sequence[Mapping[str, Any]], limit: int) -> list[NewItem | ItemReference]:
    """Return the items of an `input` field, under ids of their own; raises BadRequest, naming the field."""
    if isinstance(given, str):
        return [NewItem.message("user", given)]
    if len(given) > limit:
        raise BadRequest(f"The input may hold at most {limit} items.", "input")
    return [_new_item(item, f"input[{at}]") for at, item in enumerate(given)]


def _new_item(item: Mapping[str, Any], where: str) -> NewItem | ItemReference:
    match item.get("type") or ("message" if "role" in item else "item_reference" if "id" in item else None):
        case "item_reference":
            return ItemReference(_text(item, "id", where), where)
        case "message":
            return _message(item, where)
        case "function_call":
            return NewItem(_call(item, "arguments", where), new_id("fc"), type="function_call")
        case "custom_tool_call":
            return NewItem(_call(item, "input", where), new_id("ctc"), type="custom_tool_call")
        case "function_call_output" | "custom_tool_call_output" as kind:
            payload = {"call_id": _text(item, "call_id", where), "output": _output(item.get("output"), where)}
            return NewItem(payload, new_id("fco" if kind == "function_call_output" else "ctco"), type=kind)
        case str(kind) if kind in CALL_FIELDS or kind in OUTPUTS or kind in NOT_READ:
            return _as_given(item, kind)
        case "reasoning":
            return _reasoning(item, where)
        case other:
            kind = str(other)[:64]
            raise BadRequest(f"Items of the type {kind!r} are not supported.", f"{where}.type")


def _call(item: Mapping[str, Any], field: str, where: str) -> dict[str, Any]:
    """Return the payload of a call, of whose `field` the model is the author."""
    payload = {name: _text(item, name, where) for name in ("call_id", "name", field)}
    check_arguments(payload[field], f"{where}.{field}")
    namespace = item.get("namespace")
    if not isinstance(namespace, str | None):
        raise BadRequest("'namespace' must be a string.", f"{where}.namespace")
    return payload | ({"namespace": namespace} if namespace else {})


def _as_given(item: Mapping[str, Any], kind: str) -> NewItem:
    """Return an item of a tool that this service does not have, to be listed as it came.

    A local shell's output names its call by its own id.
    """
    payload = {name: value for name, value in item.items() if name not in ("id", "type", "status", "role", "content")}
    if kind in OUTPUTS and "call_id" not in payload and isinstance(item.get("id"), str):
        payload["call_id"] = item["id"]
    return NewItem(payload, new_id("item"), type=kind)


def _message(item: Mapping[str, Any], where: str) -> NewItem:
    role, content = item.get("role"), item.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise BadRequest(f"The role must be one of {', '.join(sorted(ROLES))}.", f"{where}.role")
    if isinstance(content, str):
        content = [{"type": "output_text" if role == "assistant" else "input_text", "text": content}]
    if not isinstance(content, list):
        raise BadRequest("The content must be a string or a list of parts.", f"{where}.content")
    part_of = _answer_part if role == "assistant" else _question_part
    parts = [part_of(part, f"{where}.content[{at}]") for at, part in enumerate(content)]
    return NewItem({"content": parts}, role=str(role))


def _question_part(part: object, where: str) -> dict[str, Any]:
    """Return a part of what a user, a developer or the system says."""
    if isinstance(part, Mapping) and part.get("type") == "input_text":
        return {"type": "input_text", "text": _text(part, "text", where)}
    if isinstance(part, Mapping) and part.get("type") == "input_image":
        url = part.get("image_url")
        if not isinstance(url, str):
            raise BadRequest("An image needs an 'image_url'; this service keeps no files.", f"{where}.image_url")
        return {"type": "input_image", "image_url": url, "detail": _detail(part.get("detail"), where)}
    raise _unsupported(part, where)


def _detail(detail: object, where: str) -> str:
    if detail not in (None, "low", "high", "auto", "original"):
        raise BadRequest("The detail must be low, high, auto or original.", f"{where}.detail")
    return str(detail or "auto")


def _answer_part(part: object, where: str) -> dict[str, Any]:
    """Return a part of what a model has said before."""
    if isinstance(part, Mapping) and part.get("type") == "output_text":
        return {"type": "output_text", "text": _text(part, "text", where), "annotations": []}
    if isinstance(part, Mapping) and part.get("type") == "refusal":
        return {"type": "refusal", "refusal": _text(part, "refusal", where)}
    raise _unsupported(part, where)


def _output(output: object, where: str) -> str | list[dict[str, Any]]:
    if isinstance(output, str):
        return output
    if not isinstance(output, list):
        raise BadRequest("The output must be a string or a list of parts.", f"{where}.output")
    return [_question_part(part, f"{where}.output[{at}]") for at, part in enumerate(output)]


def _reasoning(item: Mapping[str, Any], where: str) -> NewItem:
    payload = {
        name: [{"type": kind, "text": _text(part, "text", f"{where}.{name}")} for part in item.get(name) or ()]
        for name, kind in (("summary", "summary_text"), ("content", "reasoning_text"))
    }
    return NewItem(payload, new_id("rs"), type="reasoning")


def _text(holder: object, name: str, where: str) -> str:
    value = holder.get(name) if isinstance(holder, Mapping) else None
    if not isinstance(value, str):
        raise BadRequest(f"'{name}' must be a string.", f"{where}.{name}")
    return value


def _unsupported(part: object, where: str) -> BadRequest:
    kind = str(part.get("type") if isinstance(part, Mapping) else None)[:64]
    return BadRequest(f"Parts of the type {kind!r} are not supported here.", f"{where}.type")
