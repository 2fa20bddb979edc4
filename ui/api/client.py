"""The service's HTTP API except streamed responses (see `completion`).

Results are typed; every failure raises `ApiError`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

import httpx
from pydantic import BaseModel, ValidationError

from ui.api.errors import ApiError, from_body
from ui.api.schema import (
    Completion,
    Conversation,
    Conversations,
    Found,
    Matches,
    Me,
    Message,
    Messages,
    Model,
    Models,
    Readiness,
    Response,
    Responses,
    Share,
    SharedConversation,
    Shares,
    Signed,
    SignedIn,
    SignedInAll,
    TokenCount,
)
from ui.settings import KeyMissing, Settings

TIMEOUT = httpx.Timeout(10.0, connect=3.0, pool=5.0)  # seconds; every call of this module is short
CLOSE_TIMEOUT_S = 1.0
LIMITS = httpx.Limits(max_connections=50, max_keepalive_connections=10)
CHANGED_MEANWHILE = 412
MAX_CHANGES = 10
"""Attempts to change metadata that other processes change at the same time."""

OF_A_TITLE = {"X-ChatLLM-Purpose": "title"}
"""Counts a short completion toward the preceding message instead of as a request of its own."""

Shape = TypeVar("Shape", bound=BaseModel)


class Api:
    """One connection pool for all calls of the page; opened by the first call, closed by `aclose`."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.api_key
        self._http = httpx.AsyncClient(base_url=settings.api_url, timeout=TIMEOUT, limits=LIMITS)
        self._is_closed = False
        self._calls = 0
        self._changes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One lock per conversation whose metadata this process changes."""
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()

    async def aclose(self) -> None:
        """Close the pool: new calls fail as `unreachable`, as do calls still pending after a second.

        Closing immediately would leak connections that are being opened.
        """
        self._is_closed = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_quiet.wait(), CLOSE_TIMEOUT_S)
        await self._http.aclose()

    async def ready(self) -> Readiness:
        """Return whether the models are ready; needs no key. An unrecognized body raises `ApiError`."""
        response = await self._send("GET", "/ready", {}, timeout=httpx.Timeout(3.0))
        if response.status_code not in (200, 503):
            raise from_body(response.status_code, response.headers, None)
        return _parse(Readiness, response)

    async def me(self) -> Me:
        """Return the key's own name, limits, and usage."""
        return _parse(Me, await self._call("GET", "/v1/me"))

    async def begin_session(self, credentials: Mapping[str, str], device: str, key: str = "") -> Signed:
        """Sign in with a username and password, or with a key alone; `device` is the browser's own name."""
        body = {"json": dict(credentials)} if credentials else {}
        headers = {"User-Agent": device}
        return _parse(Signed, await self._call_as(key, "POST", "/v1/auth/sessions", headers, **body))

    async def end_session(self, token: str) -> None:
        """End the session with this token."""
        await self._call_as(token, "DELETE", "/v1/auth/sessions/current")

    async def sessions(self, token: str) -> list[SignedIn]:
        """Return all sessions of whoever has the one with this token, which is the current one, the newest first."""
        return _parse(SignedInAll, await self._call_as(token, "GET", "/v1/auth/sessions")).data

    async def end_session_of(self, token: str, session_id: str) -> None:
        """End one of these sessions by its id."""
        await self._call_as(token, "DELETE", f"/v1/auth/sessions/{session_id}")

    async def whose(self, token: str) -> Me:
        """Return who has the session with this token."""
        return _parse(Me, await self._call_as(token, "GET", "/v1/me"))

    async def read(self, shape: type[Shape], path: str, **params: str | int) -> Shape:
        """Return the resource at a path, validated as `shape`."""
        return _parse(shape, await self._call("GET", path, params=params))

    async def models(self) -> list[Model]:
        """Return the models, the default one first, without aliases."""
        models = _parse(Models, await self._call("GET", "/v1/models")).data
        return [model for model in models if model.alias_of is None]

    async def conversations(self, after: str | None = None, limit: int = 20) -> Conversations:
        """Return the page of conversations that follows `after`."""
        params = {"limit": str(limit)} | ({"after": after} if after else {})
        return _parse(Conversations, await self._call("GET", "/v1/conversations", params=params))

    async def create_conversation(self, title: str = "", metadata: Mapping[str, str] | None = None) -> Conversation:
        """Create an empty conversation."""
        body = {"metadata": dict(metadata or {})} | ({"title": title} if title else {})
        return _parse(Conversation, await self._call("POST", "/v1/conversations", json=body))

    async def conversation(self, conversation_id: str) -> Conversation:
        """Return one conversation, without its messages."""
        return _parse(Conversation, await self._call("GET", f"/v1/conversations/{conversation_id}"))

    async def rename(self, conversation_id: str, title: str) -> None:
        """Give the conversation a title."""
        await self._call("POST", f"/v1/conversations/{conversation_id}", json={"title": title})

    async def keep(self, conversation_id: str, change: Callable[[dict[str, str]], dict[str, str]]) -> dict[str, str]:
        """Apply `change` to the conversation's current metadata and return the result.

        Where another process has changed it in the meantime, `change` is applied again, to what that one left.
        """
        path = f"/v1/conversations/{conversation_id}"
        async with self._changes.setdefault(conversation_id, asyncio.Lock()):
            for attempt in range(1, MAX_CHANGES + 1):
                found = await self._call("GET", path)
                metadata = change(_parse(Conversation, found).metadata)
                try:
                    headers = {"If-Match": found.headers.get("etag", "*")}
                    await self._call("POST", path, headers, json={"metadata": metadata})
                    return metadata
                except ApiError as error:
                    if error.status != CHANGED_MEANWHILE or attempt == MAX_CHANGES:
                        raise
        raise AssertionError("unreachable")

    async def delete(self, conversation_id: str) -> None:
        """Delete the conversation permanently."""
        await self._call("DELETE", f"/v1/conversations/{conversation_id}")

    async def messages(
        self, conversation_id: str, after: str | None = None, limit: int = 50, order: Literal["asc", "desc"] = "desc"
    ) -> Messages:
        """Return messages of all branches from the newest back (or from the first on), beginning behind `after`."""
        params = {"limit": str(limit), "order": order} | ({"after": after} if after else {})
        return _parse(Messages, await self._call("GET", _items(conversation_id), params=params))

    async def running(self, conversation_id: str) -> list[Response]:
        """Return the conversation's running responses, newest first, whoever requested them."""
        path = f"/v1/conversations/{conversation_id}/responses"
        return _parse(Responses, await self._call("GET", path, params={"status": "in_progress"})).data

    async def response(self, response_id: str) -> Response:
        """Return one response."""
        return _parse(Response, await self._call("GET", f"/v1/responses/{response_id}"))

    async def input_messages(self, response_id: str) -> list[Message]:
        """Return the input messages of a response, oldest first."""
        path = f"/v1/responses/{response_id}/input_items"
        found: list[Message] = []
        params = {"limit": "100", "order": "asc"}
        while True:
            page = _parse(Messages, await self._call("GET", path, params=params))
            found += page.data
            if not page.has_more or not page.data:
                return found
            params["after"] = page.data[-1].id

    async def add_messages(self, conversation_id: str, items: Sequence[Mapping[str, Any]], parent: str) -> list[str]:
        """Store messages one after the other behind `parent` ("" for none); returns their ids."""
        body = {"items": list(items), "parent": parent}
        return [
            message.id
            for message in _parse(Messages, await self._call("POST", _items(conversation_id), json=body)).data
        ]

    async def share(self, conversation_id: str, until: str | None, expires_at: int | None) -> Share:
        """Create a link to the conversation as it is now, up to the message `until` (default: the newest)."""
        body = {name: value for name, value in (("until", until), ("expires_at", expires_at)) if value is not None}
        return _parse(Share, await self._call("POST", _shares(conversation_id), json=body))

    async def shares(self, conversation_id: str) -> list[Share]:
        """Return the conversation's valid links, newest first."""
        return _parse(Shares, await self._call("GET", _shares(conversation_id))).data

    async def revoke(self, conversation_id: str, share_id: str) -> None:
        """Revoke a link."""
        await self._call("DELETE", f"{_shares(conversation_id)}/{share_id}")

    async def shared(self, token: str) -> SharedConversation:
        """Return the conversation behind a link; needs no key."""
        response = await self._send("GET", f"/v1/shares/{token}", {})
        if not response.is_success:
            raise from_body(response.status_code, response.headers, _json(response))
        return _parse(SharedConversation, response)

    async def search(self, typed: str, limit: int = 20) -> list[Found]:
        """Find conversations by the words of their messages, the best match first."""
        params = {"q": typed, "limit": str(limit)}
        return _parse(Matches, await self._call("GET", "/v1/conversations/search", params=params)).data

    async def complete(self, model: str, messages: Sequence[Mapping[str, str]], max_tokens: int) -> str:
        """Return a short completion with minimal reasoning; an empty text if it was cut off."""
        body = {
            "model": model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "chat_template_kwargs": {"enable_thinking": False},
        }
        response = await self._call("POST", "/v1/chat/completions", headers=OF_A_TITLE, json=body)
        choice = _parse(Completion, response).choices[0]
        return (choice.message.content or "") if choice.finish_reason == "stop" else ""

    async def count_tokens(self, text: str, model: str) -> TokenCount:
        """Return the number of tokens in a text, and the model's limit."""
        body = {"prompt": text} | ({"model": model} if model else {})
        return _parse(TokenCount, await self._call("POST", "/v1/tokenize", json=body))

    async def _call(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **content: Any
    ) -> httpx.Response:
        try:
            key = await self._key.read()
        except KeyMissing as error:
            raise ApiError("no_key", str(error)) from error
        try:
            return await self._call_as(key, method, path, headers, **content)
        except ApiError as error:
            if error.status == 401:
                self._key.forget(key)
            raise

    async def _call_as(
        self, key: str, method: str, path: str, headers: Mapping[str, str] | None = None, **content: Any
    ) -> httpx.Response:
        """Call with this key, or with none if it is empty."""
        authorization = {"Authorization": f"Bearer {key}"} if key else {}
        response = await self._send(method, path, {**(headers or {}), **authorization}, **content)
        if response.is_success:
            return response
        raise from_body(response.status_code, response.headers, _json(response))

    async def _send(self, method: str, path: str, headers: dict[str, str], **content: Any) -> httpx.Response:
        if self._is_closed:
            raise ApiError("unreachable")
        self._calls += 1
        self._is_quiet.clear()
        try:
            return await self._http.request(method, path, headers=headers, **content)
        except httpx.TimeoutException as error:
            raise ApiError("too_slow" if isinstance(error, httpx.ReadTimeout) else "unreachable") from error
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:  # RuntimeError: the pool is closed
            raise ApiError("unreachable", type(error).__name__) from error
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
        raise ApiError(
            "unexpected", "The service returned an unrecognized response.", status=response.status_code
        ) from error
