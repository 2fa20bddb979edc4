"""Prompts before they are tokenized: token ids of another model, and texts of which only a part is read.

To tokenize a text takes time in proportion to its length, and longer where it has no
blanks; `truncate_prompt_tokens` reads no more of it than fits the window.
"""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from deployments.errors import BadRequest

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
    """Return a request as vLLM's type; raises pydantic's ValidationError.

    pydantic compares each part of a message with every kind of part, in one call that
    lets no other thread run. Contents of many plain texts, which the ingress has checked,
    are left out of this and come back as they are.
    """
    messages = cast("list[Any]", request.get("messages") or [])
    aside = {at: message["content"] for at, message in enumerate(messages) if _has_many_texts(message)}
    if not aside:
        return request_type.model_validate(request)
    shown = [{**said, "content": said["content"][:1]} if at in aside else said for at, said in enumerate(messages)]
    model: Any = request_type.model_validate({**request, "messages": shown})
    for at, content in aside.items():
        model.messages[at]["content"] = content
    return model


def _has_many_texts(message: Any) -> bool:
    content: Any = cast("dict[str, Any]", message).get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and len(content) > MANY_PARTS and all(map(_is_plain_text, content))  # pyright: ignore[reportUnknownArgumentType]


def _is_plain_text(part: Any) -> bool:
    if not isinstance(part, dict) or part.keys() != {"type", "text"}:
        return False
    return part["type"] == "text" and isinstance(part["text"], str)
