"""Reading a request's body: bounded, JSON, and of the types that OpenAI's API specifies.

Only the fields that this service itself reads, and the common ones whose types are
cheap to check, stand here. All others pass to the model, which knows its own.
"""

from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request

from deployments.errors import BadRequest, BodyTooLarge, InvalidJSON

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


async def body_of(request: Request, max_bytes: int) -> bytes:
    """Return the whole body; raises BodyTooLarge before reading more than `max_bytes`."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        parts.append(part)
    return b"".join(parts)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request's body is larger than {max_bytes} bytes, the limit of this server.")


async def json_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """Return the body as a JSON object ({} if there is none); raises InvalidJSON or BodyTooLarge."""
    body = await body_of(request, max_bytes)
    if not body.strip():
        return {}
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJSON(f"The request's body is not valid JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise BadRequest("The request's body must be a JSON object.")
    return decoded


def checked(decoded: dict[str, Any], schema: type[Any], max_messages: int) -> None:
    """Raise BadRequest, naming the field, where `decoded` is not of the types of `schema`."""
    try:
        msgspec.convert(decoded, schema)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".") or _missing_field(text)
        raise BadRequest(f"Invalid value for '{field}': {text}." if field else f"{text}.", field or None) from None
    if len(decoded.get("messages", ())) > max_messages:
        raise BadRequest(f"'messages' may hold at most {max_messages} messages.", "messages")


def _missing_field(text: str) -> str:
    return text.removeprefix("Object missing required field `").rstrip("`") if "missing required field" in text else ""
