"""Prompts before they are tokenized: token ids of another model, and texts of which only a part is read.

To tokenize a text takes time in proportion to its length, and longer where it has no
blanks; `truncate_prompt_tokens` reads no more of it than fits the window.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from deployments.errors import BadRequest
from deployments.models.refusals import invalid_request

Model = TypeVar("Model", bound=BaseModel)

FIELDS = ("prompt", "input", "tokens")
MANY_PARTS = 64


def check_token_ids(request: Mapping[str, Any], vocabulary: int) -> None:
    """Raise BadRequest for a token id that the model does not have: it comes from another model's tokenizer."""
    for field in FIELDS:
        value = request.get(field)
        if not isinstance(value, list):
            continue
        parts = cast("list[Any]", value)
        for part in [parts, *(part for part in parts if isinstance(part, list))]:
            ids = [one for one in cast("list[Any]", part) if isinstance(one, int)]
            wrong = next((one for one in (max(ids, default=0), min(ids, default=0)) if not 0 <= one < vocabulary), None)
            if wrong is not None:
                raise BadRequest(
                    f"The token id {wrong} in '{field}' is outside of this model's vocabulary of {vocabulary}: "
                    f"token ids must come from its own tokenizer (/v1/tokenize). Otherwise send text.",
                    field,
                )


def cut_texts(request: dict[str, Any], longest: int, side: str) -> None:
    """Cut what no truncated prompt reads off the texts of a request that asks for it.

    `longest` is how many characters the tokens of a window have at most, with some to
    spare; `side` is where the tokenizer cuts. A chat's text is made by its template:
    there vLLM cuts, once it knows the side.
    """
    if request.get("truncate_prompt_tokens") is None:
        return
    side = request.get("truncation_side") or side
    if "messages" in request:
        request["truncation_side"] = side
        return
    for field in ("prompt", "input"):
        value = request.get(field)
        if isinstance(value, str):
            request[field] = _cut(value, longest, side)
        elif isinstance(value, list):
            parts = cast("list[Any]", value)
            request[field] = [_cut(part, longest, side) if isinstance(part, str) else part for part in parts]


def _cut(text: str, longest: int, side: str) -> str:
    if len(text) <= longest:
        return text
    return text[-longest:] if side == "left" else text[:longest]


def validated(request_type: type[Model], request: dict[str, Any]) -> Model:
    """Return a request as vLLM's type; raises pydantic's ValidationError, or BadRequest for one of many messages.

    pydantic compares each message, and each part of it, with every kind there is, in one
    call that lets no other thread run. So many of them are validated one after the other;
    plain texts, which the ingress has checked, come back as they are.
    """
    messages = request.get("messages")
    if not isinstance(messages, list) or size_of(messages) <= MANY_PARTS:
        return request_type.model_validate(request)
    given = cast("list[dict[str, Any]]", messages)
    shown = next((message for message in given if not _is_plain(message)), given[0])
    model: Any = request_type.model_validate({**request, "messages": [_without_texts(shown)]})
    model.messages = [_read(request_type, message, at) for at, message in enumerate(given)]
    return model


def size_of(messages: Sequence[Any]) -> int:
    """Return how many messages, parts and tool calls there are to be looked at."""
    return sum(map(_size, messages))


def _size(message: Any) -> int:
    if not isinstance(message, dict):
        return 1
    fields = cast("dict[str, Any]", message)
    return 1 + sum(len(value) for name in ("content", "tool_calls") if isinstance(value := fields.get(name), list))


def _read(request_type: type[BaseModel], message: dict[str, Any], at: int) -> dict[str, Any]:
    """Return one message as vLLM's type of the whole request reads it."""
    if _is_plain(message):
        return dict(message)
    parts = _content(message)
    try:
        if not isinstance(parts, list) or len(parts) <= MANY_PARTS:
            return _read_by(request_type, message)
        read = _read_by(request_type, _without_texts(message))
        others = iter(_read_parts(request_type, message, [part for part in parts if not _is_plain_text(part)]))
        return {**read, "content": [part if _is_plain_text(part) else next(others) for part in parts]}
    except ValidationError as error:
        raise invalid_request(error, at) from None


def _read_parts(request_type: type[BaseModel], message: dict[str, Any], parts: list[Any]) -> list[Any]:
    read: list[Any] = []
    for at in range(0, len(parts), MANY_PARTS):
        some = {"role": message.get("role"), "content": parts[at : at + MANY_PARTS]}
        read += _read_by(request_type, some)["content"]
    return read


def _read_by(request_type: type[BaseModel], message: dict[str, Any]) -> dict[str, Any]:
    model: Any = request_type.model_validate({"messages": [message]})
    return model.messages[0]


def _without_texts(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with one part where it has many."""
    parts = _content(message)
    if not isinstance(parts, list) or len(parts) <= MANY_PARTS:
        return message
    return {**message, "content": [next((part for part in parts if not _is_plain_text(part)), parts[0])]}


def _content(message: Any) -> Any:
    return cast("dict[str, Any]", message).get("content") if isinstance(message, dict) else None


def _is_plain(message: Any) -> bool:
    """Tell a message of nothing but text."""
    content = _content(message)
    if not isinstance(message, dict) or message.keys() != {"role", "content"}:
        return False
    return isinstance(content, str) or (isinstance(content, list) and all(map(_is_plain_text, content)))  # pyright: ignore[reportUnknownArgumentType]


def _is_plain_text(part: Any) -> bool:
    if not isinstance(part, dict) or part.keys() != {"type", "text"}:
        return False
    return part["type"] == "text" and isinstance(part["text"], str)
