"""Reading a request's body: bounded, JSON, and of the types that OpenAI's API specifies.

Only the fields that this service itself reads, and the common ones whose types are
cheap to check, stand here. All others pass to the model, which knows its own.
"""

from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request

from deployments.errors import BadRequest
from deployments.ingress.bodies import body_of, decoded
from deployments.ingress.services import services_of

Tokens = Annotated[int, msgspec.Meta(ge=1)]


class ChatMessage(msgspec.Struct):
    """A message of the `messages` field."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(msgspec.Struct):
    """The `stream_options` field."""

    include_usage: bool | None = None


class ConversationReference(msgspec.Struct):
    """The `conversation` field where it is an object."""

    id: str


class ChatRequest(msgspec.Struct):
    """The types of a chat completion request (OpenAI API reference, "Create chat completion").

    `conversation` and `parent` are this service's own: the stored conversation
    that the messages continue, and the item after which they stand (a branch).
    """

    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    user: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    conversation: str | ConversationReference | None = None
    parent: str | None = None


async def json_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """Return the body as a JSON object ({} if there is none).

    Raises InvalidJSON, BodyTooLarge, SlowSender or UnsupportedEncoding.
    """
    settings = services_of(request).settings
    body = await body_of(request, max_bytes, settings.timeouts.body_s)
    value = decoded(body, settings.limits.max_json_values) if body.strip() else {}
    if not isinstance(value, dict):
        raise BadRequest("The request's body must be a JSON object.")
    return value


def checked(body: dict[str, Any], schema: type[Any], max_messages: int) -> None:
    """Raise BadRequest, naming the field, where `body` is not of the types of `schema`."""
    messages = body.get("messages")
    if isinstance(messages, list) and len(messages) > max_messages:
        raise BadRequest(f"'messages' may hold at most {max_messages} messages.", "messages")
    try:
        msgspec.convert(body, schema)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".") or _missing_field(text)
        raise BadRequest(f"Invalid value for '{field}': {text}." if field else f"{text}.", field or None) from None


def _missing_field(text: str) -> str:
    """Return the field that is missing, or that should be."""
    start, _, name = text.partition(" `")
    return name.rstrip("`") if start in ("Object missing required field", "Object contains unknown field") else ""
