"""The API in OpenAPI's terms, made of the types that the code itself checks requests with.

A route says what it takes and gives with `openapi_extra=documented(...)`; bodies are
read raw, so that FastAPI cannot know. `described` makes the whole document: what
every route can answer besides (no key, a body too large, no room) is added there.
"""

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from deployments.api.http.dialect import MESSAGES, OVERLOADED_STATUS, status_of
from deployments.api.schemas.messages import MessageError
from deployments.api.services import KEY_HEADERS
from deployments.chat.parameters import HINTS
from deployments.errors import (
    BadRequest,
    BodyTooLarge,
    ChatLLMError,
    HeadersTooLarge,
    NotFound,
    Overloaded,
    SlowSender,
    TooManyRequests,
    Unauthenticated,
    UnsupportedEncoding,
    UnsupportedMediaType,
)

Schema = type[Any] | Mapping[str, Any]
"""A msgspec type, or JSON Schema where no type says it."""

REFERENCE = "#/components/schemas/{name}"
REQUEST_ID = {"description": "The request's id: yours, or one made here.", "schema": {"type": "string"}}
RETRY_AFTER = {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}

ABOUT = f"""An OpenAI-compatible API with durable conversations and a response cache.

Every request but `/health` and `/ready` carries a key: `Authorization: Bearer sk-chatllm-…`; else
`api-key` or `x-api-key`, in this order, count as well. HEAD is answered wherever GET is, and one
trailing slash is forgiven.
Every answer carries `x-request-id`, which is also in every error. A streamed answer is
server-sent events; after the first, a failure is an error event and the stream's end.

A parameter of OpenAI's is honored, or it is a hint, or it is a 400 that names it. A hint is accepted
with any value and dropped, because the answer is right without it:
{"; ".join(f"`{name}` ({reason})" for name, reason in HINTS.items())}."""


class ErrorDetail(msgspec.Struct):
    """What went wrong: `code` is for programs, `param` the field at fault, `request_id` for the operator."""

    message: str
    type: str
    param: str | None
    code: str
    request_id: str


class Error(msgspec.Struct):
    """The body of every error."""

    error: ErrorDetail


def documented(
    body: Schema | None = None,
    answer: Schema | None = None,
    *,
    example: Mapping[str, Any] | None = None,
    events: Schema | None = None,
    errors: Iterable[type[ChatLLMError]] = (),
    also: Mapping[int, Schema] | None = None,
    public: bool = False,
    media: str = "application/json",
    answer_media: str = "application/json",
) -> dict[str, Any]:
    """Return the `openapi_extra` of a route.

    `body` and `answer` are what it takes and gives as JSON, `example` a body to send
    (where there is none: an answer), `events` the data of each server-sent event where
    the answer may be streamed, `errors` what it raises besides what any route can, `also`
    answers of another status than 200, `public` says that it needs no key, `media` is the body's type,
    `answer_media` the whole answer's.
    """
    shown = {"example": example} if example else {}
    content: dict[str, Any] = {}
    if answer is not None:
        content[answer_media] = {"schema": _schema(answer), **({} if body is not None else shown)}
    if events is not None:
        content["text/event-stream"] = {"itemSchema": _event(events)}
    responses: dict[str, Any] = {"200": {"description": "Success", "content": content}}
    for status, shape in (also or {}).items():
        content_of_other = {"application/json": {"schema": _schema(shape)}}
        responses[str(status)] = {"description": "See the body", "content": content_of_other}
    _add_errors(responses, errors)
    operation: dict[str, Any] = {"responses": responses}
    if body is not None:
        operation["requestBody"] = {
            "required": bool(_required(body)),
            "content": {media: {"schema": _schema(body), **shown}},
        }
    if public:
        operation["security"] = []
    return operation


def described(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of `app`."""
    document = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
    for path, operation in _operations(document):
        _complete(path, operation)
    document["components"] = {
        "schemas": _tidy(_hoisted([_schema(Error), _schema(MessageError), document["paths"]])),
        "securitySchemes": {
            "key": {"type": "http", "scheme": "bearer"},
            **{name: {"type": "apiKey", "in": "header", "name": name} for name in KEY_HEADERS},
        },
        "headers": {"RequestId": REQUEST_ID, "RetryAfter": RETRY_AFTER},
    }
    document["security"] = [{scheme: []} for scheme in ("key", *KEY_HEADERS)]
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Add to a route's answers what any of its kind can give."""
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own; here a parameter at fault is a 400 in OpenAI's shape
    raised: list[type[ChatLLMError]] = [HeadersTooLarge, ChatLLMError]
    if operation.get("security") != []:
        raised += [Unauthenticated, TooManyRequests, Overloaded]
    if "requestBody" in operation:
        raised += [BadRequest, SlowSender, BodyTooLarge, UnsupportedEncoding, UnsupportedMediaType]
    if operation.get("parameters"):
        raised += [BadRequest]
    if "{" in path:
        raised += [NotFound]
    _add_errors(responses, raised, path)
    if path.startswith(MESSAGES):
        _speak_anthropic(responses)
    operation["responses"] = dict(sorted(responses.items()))
    for response in responses.values():
        response.setdefault("headers", {})["x-request-id"] = {"$ref": "#/components/headers/RequestId"}


def _speak_anthropic(responses: dict[str, Any]) -> None:
    """Give answers the shapes of Anthropic's API: of errors, and of a stream that ends without `[DONE]`."""
    for response in responses.values():
        for media in response.get("content", {}).values():
            if media.get("schema") == {"$ref": REFERENCE.format(name="Error")}:
                media["schema"] = {"$ref": REFERENCE.format(name="MessageError")}
            if "itemSchema" in media:
                data = media["itemSchema"]["properties"]["data"]
                data["anyOf"][1]["contentSchema"]["anyOf"][1] = _schema(MessageError)
                data["anyOf"] = [data["anyOf"][1]]


def _add_errors(responses: dict[str, Any], errors: Iterable[type[ChatLLMError]], path: str = "") -> None:
    for error in errors:
        text = inspect.cleandoc(error.__doc__ or "").partition("\n")[0]
        line = f"`{error.code}`: {text}"
        response = responses.setdefault(str(status_of(error, {"path": path})), {"description": line})
        if line not in response["description"]:
            response["description"] += f"\n\n{line}"
        response.setdefault("content", {"application/json": {"schema": {"$ref": REFERENCE.format(name="Error")}}})
        if error.status in (429, 503, OVERLOADED_STATUS):
            response["headers"] = {"retry-after": {"$ref": "#/components/headers/RetryAfter"}}


def _schema(shape: Schema) -> dict[str, Any]:
    """Return JSON Schema with its definitions inside, until `_hoisted` gathers them."""
    return copy.deepcopy(dict(shape)) if isinstance(shape, Mapping) else msgspec.json.schema(shape)


def _event(data: Schema) -> dict[str, Any]:
    """Return the schema of a server-sent event (OpenAPI 3.2, "Server-Sent Events")."""
    inside = {"contentMediaType": "application/json", "contentSchema": {"anyOf": [_schema(data), _schema(Error)]}}
    text = {"type": "string", "anyOf": [{"const": "[DONE]"}, inside]}
    return {"type": "object", "properties": {"data": text, "event": {"type": "string"}}, "required": ["data"]}


def _required(shape: Schema) -> list[str]:
    schema = _schema(shape)
    name = schema.get("$ref", "").rpartition("/")[2]
    return schema.get("$defs", {}).get(name, schema).get("required", [])


def _hoisted(node: Any) -> dict[str, Any]:
    """Take the definitions out of every schema below `node`, make references point to the shared place, return them."""
    found: dict[str, Any] = {}
    if isinstance(node, list):
        for part in node:
            _add(found, _hoisted(part))
    elif isinstance(node, dict):
        for name, shape in node.pop("$defs", {}).items():
            _add(found, {name: shape} | _hoisted(shape))
        if isinstance(node.get("$ref"), str):
            node["$ref"] = node["$ref"].replace("#/$defs/", REFERENCE.format(name=""))
        for part in node.values():
            _add(found, _hoisted(part))
    return found


def _add(found: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, shape in more.items():
        if found.setdefault(name, shape) != shape:
            raise ValueError(f"two different types are called {name}: rename one")


def _tidy(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas by name, with their docstrings as prose."""
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    return dict(sorted(schemas.items()))
