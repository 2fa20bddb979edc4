"""The service's HTTP API, but for streamed answers (see `completion`).

Typed results, and `Trouble` for every failure.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from ui.images import is_data_url, with_images
from ui.settings import KeyMissing, Settings
from ui.trouble import Trouble, from_body

TIMEOUT = httpx.Timeout(10.0, connect=3.0, pool=5.0)  # seconds; every call of this module is short
CLOSE_TIMEOUT_S = 1.0
LIMITS = httpx.Limits(max_connections=50, max_keepalive_connections=10)


Shape = TypeVar("Shape", bound=BaseModel)


class ModelState(BaseModel):
    """One model as `/ready` tells of it."""

    id: str
    status: Literal["ready", "loading", "failed"]
    elapsed_s: float = 0.0
    message: str = ""


class Readiness(BaseModel):
    """The answer of `/ready`, whatever its HTTP status."""

    status: str
    models: list[ModelState] = []


class Conversation(BaseModel):
    """A stored conversation; times are unix seconds."""

    id: str
    title: str | None = None
    created_at: float = 0
    updated_at: float = 0
    metadata: dict[str, str] = {}

    @property
    def is_pinned(self) -> bool:
        """Whether it stays on top of the list."""
        return self.metadata.get("pinned") == "true"


class Part(BaseModel):
    """A piece of a message's content."""

    type: str
    text: str = ""
    image_url: str | None = None


class Message(BaseModel):
    """A stored message; `incomplete` ones were stopped or broken off. An item of another kind has no role."""

    id: str
    type: str = "message"
    role: str = ""
    parent_id: str | None = None
    status: str = "completed"
    content: list[Part] | None = None
    created_at: float = 0
    reasoning: str = ""
    """What the model thought before it answered: an item of its own, which `tree.folded` puts here."""

    @property
    def text(self) -> str:
        """The text parts, joined, and the images behind them."""
        parts = self.content or []
        images = [part.image_url for part in parts if part.image_url and is_data_url(part.image_url)]
        text = "".join(part.text for part in parts)
        return with_images(text, images) if images else text


class Conversations(BaseModel):
    """A page of the list, the most recently active first."""

    data: list[Conversation]
    has_more: bool = False


class Messages(BaseModel):
    """A page of a conversation's messages, in the order that was asked for."""

    data: list[Message]
    has_more: bool = False


class Piece(BaseModel):
    """A part of the text around a match; `match` tells what was searched for."""

    text: str
    match: bool = False


class Found(BaseModel):
    """A conversation in which something was found."""

    conversation: Conversation
    snippet: list[Piece] = []


class Failure(BaseModel):
    """Why a response failed; `reason` is the code that a request would have failed with."""

    code: str = ""
    reason: str = ""
    message: str = ""


class Used(BaseModel):
    """The tokens of a response."""

    input_tokens: int = 0
    output_tokens: int = 0


class Response(BaseModel):
    """One answer as the service tells of it, whoever asked for it; times are unix seconds."""

    id: str
    model: str = ""
    status: str = "in_progress"
    created_at: float = 0
    temperature: float | None = None
    output: list[Message] = []
    usage: Used | None = None
    error: Failure | None = None
    incomplete_details: dict[str, str] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is still being written."""
        return self.status in ("queued", "in_progress")


class _Running(BaseModel):
    data: list[Response]


class Left(BaseModel):
    """What is left of a limit, and the seconds until all of it is there again."""

    limit: int
    remaining: int
    reset_s: float


class Usage(BaseModel):
    """What a key used; `cached_tokens` count against no limit."""

    requests: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0


class Me(BaseModel):
    """The key itself, as the service tells of it; a limit that it does not have is None."""

    id: str
    name: str
    last4: str = ""
    admin: bool = False
    expires_at: int | None = None
    limits: dict[str, int | None] = {}
    remaining: dict[str, Left | None] = {}
    usage: Usage = Usage()


class Share(BaseModel):
    """A link to a conversation; the token is known only of one that has just been made. Times are unix seconds."""

    id: str
    created_at: float
    expires_at: float | None = None
    token: str = ""


class SharedMessage(BaseModel):
    """What was said in a shared conversation; `left_out` counts what came along and is not shown, such as pictures."""

    role: str
    text: str
    left_out: int = 0


class SharedConversation(BaseModel):
    """What a link shows."""

    title: str | None = None
    created_at: float
    messages: list[SharedMessage]
    is_cut: bool = False


class _Shares(BaseModel):
    data: list[Share]


class _Matches(BaseModel):
    data: list[Found]


class _Tokens(BaseModel):
    count: int
    max_model_len: int = 0


class Model(BaseModel):
    """A model, or another name for one."""

    id: str
    alias_of: str | None = None
    input_modalities: list[str] = ["text"]

    @property
    def sees(self) -> bool:
        """Whether a message to it may hold images."""
        return "image" in self.input_modalities


class _Models(BaseModel):
    data: list[Model]


class Api:
    """One connection pool for all of the page's calls; opened by the first call, closed by `aclose`."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.api_key
        self._http = httpx.AsyncClient(base_url=settings.api_url, timeout=TIMEOUT, limits=LIMITS)
        self._is_closed = False
        self._calls = 0
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()

    async def aclose(self) -> None:
        """Close the pool: new calls fail as `unreachable`, and so do those still out after a second.

        To close at once would leak the connections that are just being opened.
        """
        self._is_closed = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_quiet.wait(), CLOSE_TIMEOUT_S)
        await self._http.aclose()

    async def ready(self) -> Readiness:
        """Ask whether the models can generate; needs no key. Anything but the known shape is `Trouble`."""
        response = await self._send("GET", "/ready", {}, timeout=httpx.Timeout(3.0))
        if response.status_code not in (200, 503):
            raise from_body(response.status_code, response.headers, None)
        return _parse(Readiness, response)

    async def me(self) -> Me:
        """Return what the key may know of itself."""
        return _parse(Me, await self._call("GET", "/v1/me"))

    async def read(self, shape: type[Shape], path: str, **params: str | int) -> Shape:
        """Return what lies at a path, in the shape that it is to have."""
        return _parse(shape, await self._call("GET", path, params=params))

    async def models(self) -> list[Model]:
        """Return the models, the default one first, without their other names."""
        models = _parse(_Models, await self._call("GET", "/v1/models")).data
        return [model for model in models if model.alias_of is None]

    async def conversations(self, after: str | None = None, limit: int = 20) -> Conversations:
        """Return the page of conversations that follows `after`."""
        params = {"limit": str(limit)} | ({"after": after} if after else {})
        return _parse(Conversations, await self._call("GET", "/v1/conversations", params=params))

    async def create_conversation(self, title: str = "", metadata: Mapping[str, str] | None = None) -> Conversation:
        """Open an empty conversation."""
        body = {"metadata": dict(metadata or {})} | ({"title": title} if title else {})
        return _parse(Conversation, await self._call("POST", "/v1/conversations", json=body))

    async def conversation(self, conversation_id: str) -> Conversation:
        """Return one conversation, without its messages."""
        return _parse(Conversation, await self._call("GET", f"/v1/conversations/{conversation_id}"))

    async def rename(self, conversation_id: str, title: str) -> None:
        """Give the conversation a title."""
        await self._call("POST", f"/v1/conversations/{conversation_id}", json={"title": title})

    async def keep(self, conversation_id: str, metadata: Mapping[str, str]) -> None:
        """Replace what is kept beside the conversation."""
        await self._call("POST", f"/v1/conversations/{conversation_id}", json={"metadata": dict(metadata)})

    async def delete(self, conversation_id: str) -> None:
        """Delete the conversation for good."""
        await self._call("DELETE", f"/v1/conversations/{conversation_id}")

    async def messages(
        self, conversation_id: str, after: str | None = None, limit: int = 50, order: Literal["asc", "desc"] = "desc"
    ) -> Messages:
        """Return messages of all branches from the newest back (or from the first on), beginning behind `after`."""
        params = {"limit": str(limit), "order": order} | ({"after": after} if after else {})
        return _parse(Messages, await self._call("GET", _items(conversation_id), params=params))

    async def running(self, conversation_id: str) -> list[Response]:
        """Return what is being written in the conversation, the newest first, whoever asked for it."""
        path = f"/v1/conversations/{conversation_id}/responses"
        return _parse(_Running, await self._call("GET", path, params={"status": "in_progress"})).data

    async def response(self, response_id: str) -> Response:
        """Return one answer."""
        return _parse(Response, await self._call("GET", f"/v1/responses/{response_id}"))

    async def asked(self, response_id: str) -> list[Message]:
        """Return the messages that an answer was asked for with, oldest first."""
        path = f"/v1/responses/{response_id}/input_items"
        return _parse(Messages, await self._call("GET", path, params={"limit": "100", "order": "asc"})).data

    async def add_messages(self, conversation_id: str, items: Sequence[Mapping[str, Any]], parent: str) -> list[str]:
        """Store messages one after the other behind `parent` ("" for none); returns their ids."""
        body = {"items": list(items), "parent": parent}
        return [
            message.id
            for message in _parse(Messages, await self._call("POST", _items(conversation_id), json=body)).data
        ]

    async def share(self, conversation_id: str, until: str | None, expires_at: int | None) -> Share:
        """Share a conversation as it is now, up to the message `until` (or the newest), with who has the link."""
        body = {name: value for name, value in (("until", until), ("expires_at", expires_at)) if value is not None}
        return _parse(Share, await self._call("POST", _shares(conversation_id), json=body))

    async def shares(self, conversation_id: str) -> list[Share]:
        """Return the conversation's links that are valid, the newest first."""
        return _parse(_Shares, await self._call("GET", _shares(conversation_id))).data

    async def revoke(self, conversation_id: str, share_id: str) -> None:
        """Let a link show nothing any more."""
        await self._call("DELETE", f"{_shares(conversation_id)}/{share_id}")

    async def shared(self, token: str) -> SharedConversation:
        """Return what a link shows; needs no key."""
        response = await self._send("GET", f"/v1/shares/{token}", {})
        if not response.is_success:
            raise from_body(response.status_code, response.headers, _json(response))
        return _parse(SharedConversation, response)

    async def search(self, typed: str, limit: int = 20) -> list[Found]:
        """Find conversations by the words of their messages, the best match first."""
        params = {"q": typed, "limit": str(limit)}
        return _parse(_Matches, await self._call("GET", "/v1/conversations/search", params=params)).data

    async def count_tokens(self, text: str, model: str) -> int:
        """Return how many tokens a text has."""
        body = {"prompt": text} | ({"model": model} if model else {})
        return _parse(_Tokens, await self._call("POST", "/v1/tokenize", json=body)).count

    async def _call(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            key = await self._key.read()
        except KeyMissing as error:
            raise Trouble("no_key", str(error)) from error
        response = await self._send(method, path, {"Authorization": f"Bearer {key}"}, **content)
        if response.is_success:
            return response
        if response.status_code == 401:
            self._key.forget()
        raise from_body(response.status_code, response.headers, _json(response))

    async def _send(self, method: str, path: str, headers: dict[str, str], **content: Any) -> httpx.Response:
        if self._is_closed:
            raise Trouble("unreachable")
        self._calls += 1
        self._is_quiet.clear()
        try:
            return await self._http.request(method, path, headers=headers, **content)
        except httpx.TimeoutException as error:
            raise Trouble("too_slow" if isinstance(error, httpx.ReadTimeout) else "unreachable") from error
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:  # RuntimeError: the pool is closed
            raise Trouble("unreachable", type(error).__name__) from error
        finally:
            self._calls -= 1
            if not self._calls:
                self._is_quiet.set()


def _items(conversation_id: str) -> str:
    return f"/v1/conversations/{conversation_id}/items"


def _shares(conversation_id: str) -> str:
    return f"/v1/conversations/{conversation_id}/shares"


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _parse(shape: type[Shape], response: httpx.Response) -> Shape:
    try:
        return shape.model_validate_json(response.content)
    except ValidationError as error:
        raise Trouble("unexpected", "The service answered in an unknown form.", status=response.status_code) from error
