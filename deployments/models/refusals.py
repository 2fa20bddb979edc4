"""The errors of vLLM, and of what lies beneath it, in this service's own words.

The one place through which their text can reach a client. vLLM's plain sentences
pass; anything that speaks of Python, pydantic or C++ becomes a sentence of ours that
names the parameter.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from deployments.errors import BadRequest, ChatLLMError, ContextTooLong, ModelNotFound, Unavailable

NOT_IMPLEMENTED = 501
MAX_CHARACTERS = 400

SUFFIX = re.compile(r" \((?:parameter|value)=.*\)$", re.DOTALL)
"""What vLLM appends to the text of an error."""

FOREIGN = re.compile(
    r"pydantic|validation errors? for|Traceback|object at 0x|<class|NoneType|unhashable|subscriptable|iterable"
    r"|keyword argument|positional argument|has no attribute|__\w+__|\b\w+(?:Error|Exception)\b"
    r"|\b\w+\.(?:py|cc|cpp|rs|h)\b"
    r"|\bself\b|\bcls\b|\bdict\b|\bstr\b|\bNone\b|\bTrue\b|\bFalse\b|\btuple\b|\{'|\[type=|input_value|--[a-z]+-|VLLM_|jinja"
    r"|xgrammar|xgr\b|llguidance|outlines|transformers|torch|\bvLLM\b|struct\b|assert|std::|StructuredOutputsParams",
    re.IGNORECASE,
)
"""What no sentence for a client contains."""

TYPES: Mapping[str, str] = {
    "string": "a text",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
    "model_attributes": "an object",
    "mapping": "an object",
}
"""pydantic's `…_type` and `…_parsing` errors, by what the value should have been."""

BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def invalid_request(error: ValidationError, message: int | None = None) -> BadRequest:
    """Return what pydantic found wrong first, named by its field; `message` is the place of one validated alone."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = first["loc"]
    if message is not None:
        place = ("messages", message, *place[2:])
    field = ".".join(str(part) for part in itertools.takewhile(_is_field, place))
    return BadRequest(_sentence(dict(first), field), field or _named_in(str(first["msg"])))


def engine_error(body: Mapping[str, Any], prompt_field: str = "messages") -> ChatLLMError:
    """Return the error of vLLM's error body; `prompt_field` is at fault where the prompt is too long."""
    message = SUFFIX.sub("", str(body.get("message")))
    code, param = body.get("code"), body.get("param")
    param = param if isinstance(param, str) else None
    if "context length" in message:
        return ContextTooLong(_presentable(message, "The prompt is longer than the model's context."), prompt_field)
    if message.endswith("is not a multimodal model"):
        return BadRequest("The model supports only text input.", prompt_field)
    if code == 404:
        return ModelNotFound(_presentable(message, "The model does not exist."), param)
    if code == NOT_IMPLEMENTED or (isinstance(code, int) and 400 <= code < 500):
        general = f"The model cannot follow '{param}' as it is." if param else "The model cannot process this request."
        return BadRequest(_presentable(message, general), param)
    if code == 503:
        return Unavailable("", None, 1.0)
    return ChatLLMError("The model failed to generate an answer.")


def _sentence(error: Mapping[str, Any], field: str) -> str:
    kind, context = str(error["type"]), error.get("ctx") or {}
    subject = f"'{field}'" if field else "The request"
    if kind == "missing":
        return f"{subject} is missing."
    if kind in BOUNDS:
        name, words = BOUNDS[kind]
        return f"{subject} must be {words} {context.get(name)}."
    if kind == "literal_error":
        return f"{subject} must be one of: {str(context.get('expected'))[:MAX_CHARACTERS]}."
    if kind == "extra_forbidden":
        return f"{subject} is not a known argument."
    expected = TYPES.get(re.sub("_(?:type|parsing|from_float)$", "", kind))
    if expected is not None:
        return f"{subject} must be {expected}."
    if kind in ("value_error", "assertion_error"):
        own = SUFFIX.sub("", str(error["msg"]).partition(", ")[2])
        return _presentable(own, f"{subject} is not valid.")
    return f"{subject} is not valid."


def _presentable(message: str, otherwise: str) -> str:
    """Return a sentence that a client can use: `otherwise` if `message` is not one."""
    if not message or len(message) > MAX_CHARACTERS or "\n" in message or FOREIGN.search(message):
        return otherwise
    return message


def _named_in(message: str) -> str | None:
    """Return the parameter that vLLM's validators name in the text only."""
    found = re.search(r"\(parameter=(\w+)", message) or re.search(r"[`'](\w+)[`']", message)
    return found[1] if found else None


def _is_field(part: int | str) -> bool:
    """Tell a field's name or index from the names of the alternatives that pydantic tried."""
    return isinstance(part, int) or re.fullmatch("[a-z][a-z_]*", part) is not None
