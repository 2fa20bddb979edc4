"""Reading a request's body: bounded, JSON, and of the types that OpenAI's API specifies."""

from typing import Any

import msgspec
from starlette.requests import Request

from deployments.api.http.bodies import body_of, decoded
from deployments.api.services import services_of
from deployments.errors import BadRequest, UnsupportedMediaType
from deployments.infra.json_types import in_json_terms
from deployments.infra.threads import run_sized

JSON_TYPE = "application/json"


async def json_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """Return the body as a JSON object ({} if there is none).

    Raises InvalidJSON, BodyTooLarge, SlowSender, UnsupportedEncoding, or
    UnsupportedMediaType for a body that says it is something else.
    """
    kind = request.headers.get("content-type", JSON_TYPE).partition(";")[0].strip().lower()
    if kind != JSON_TYPE and request.headers.get("content-length") != "0":
        raise UnsupportedMediaType
    settings = services_of(request).settings
    body = await body_of(request, max_bytes, settings.timeouts.body_s)
    request.state.body_bytes = len(body)
    value = await run_sized(len(body), decoded, body, settings.limits.max_json_values) if body.strip() else {}
    if not isinstance(value, dict):
        raise BadRequest("The request's body must be a JSON object.")
    return value


async def body_as(request: Request, schema: type[Any]) -> dict[str, Any]:
    """Return the body as a JSON object of the types of `schema`; raises BadRequest, and what `json_object` does."""
    limits = services_of(request).settings.limits
    body = await json_object(request, limits.max_body_bytes)
    await run_sized(request.state.body_bytes, checked, body, schema, limits.max_messages)
    request.state.timing.mark("body")
    return body


def checked(body: dict[str, Any], schema: type[Any], max_messages: int) -> None:
    """Raise BadRequest, naming the field, where `body` is not of the types of `schema`."""
    messages = body.get("messages")
    if isinstance(messages, list) and len(messages) > max_messages:
        raise BadRequest(f"'messages' may hold at most {max_messages} messages.", "messages")
    try:
        msgspec.convert(body, schema)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        field = path.rpartition("$")[2].rstrip("`").lstrip(".") or _missing_field(text)
        text = in_json_terms(text)
        raise BadRequest(f"Invalid value for '{field}': {text}." if field else f"{text}.", field or None) from None


def _missing_field(text: str) -> str:
    """Return the field that is missing, or that should be."""
    start, _, name = text.partition(" `")
    return name.rstrip("`") if start in ("Object missing required field", "Object contains unknown field") else ""
