"""The way of a batch's line to its answer: that of every request, but for the network.

The line becomes a request to this replica's own application, with all that stands around its endpoint: validation,
cache, limits per minute and month, metrics and usage of its key. It asks for the class of batches, and takes none of
its key's places among what runs at once: how many lines run is bounded by the batches' own settings. One line may ask
for no more answers than its key may have at once.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from starlette.types import ASGIApp, Message, Scope

from deployments.api.patience import PRIORITY_HEADER
from deployments.api.services import KNOWN_CALLER
from deployments.batches.lines import KeyGone
from deployments.batches.types import ClaimedLine, LineAnswer
from deployments.errors import NotFound, TooManyRequests
from deployments.keys.authenticator import Caller
from deployments.keys.store import KeyStore
from deployments.keys.types import KeyLimits

KEY_TTL_S = 5.0
PAUSED_S = 30.0
MAX_KEYS = 1_000


class BatchDoor:
    """Answers lines through the application of this replica."""

    def __init__(self, app: ASGIApp, keys: KeyStore, defaults: Callable[[], KeyLimits]) -> None:
        """`defaults` hold for a key that has no such limit of its own."""
        self._app = app
        self._keys = keys
        self._defaults = defaults
        self._callers: dict[str, tuple[float, Caller]] = {}

    async def answer(self, line: ClaimedLine) -> LineAnswer:
        """Answer a line; raises KeyGone, TooManyRequests while its key is disabled, HistoryUnavailable."""
        caller, request_id = await self._caller(line.key_id), f"req_{secrets.token_hex(12)}"
        reply = _Reply(line.body)
        scope = _scope(line, caller, request_id)
        try:
            await self._app(scope, reply.receive, reply.send)
        finally:
            reply.close()
        return reply.answer(request_id)

    async def _caller(self, key_id: str) -> Caller:
        known = self._callers.get(key_id)
        if known is not None and time.monotonic() - known[0] < KEY_TTL_S:
            return known[1]
        self._callers.pop(key_id, None)
        try:
            key = await self._keys.retrieve(key_id)
        except NotFound:
            raise KeyGone from None
        if key.revoked_at is not None:
            raise KeyGone
        if not key.is_valid():
            raise TooManyRequests("This batch's key is disabled or has expired.", None, PAUSED_S)
        limits = key.limits.within(self._defaults())
        at_once, limits = limits.concurrent_requests, replace(limits, concurrent_requests=None)
        caller = Caller(key.tenant, key.id, key.name, False, limits, key.weight or 1, "batch", at_once)
        if len(self._callers) >= MAX_KEYS:
            self._callers.clear()
        self._callers[key_id] = (time.monotonic(), caller)
        return caller


def _scope(line: ClaimedLine, caller: Caller, request_id: str) -> Scope:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(line.body)).encode()),
        (b"x-request-id", request_id.encode()),
        (PRIORITY_HEADER.encode(), b"batch"),
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": line.endpoint,
        "raw_path": line.endpoint.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": None,
        "server": None,
        "state": {},
        KNOWN_CALLER: caller,
    }


class _Reply:
    """What the application is told of a line, and what it says to it."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._left = asyncio.Event()
        self._status = 500
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))

    def close(self) -> None:
        self._left.set()

    def answer(self, request_id: str) -> LineAnswer:
        after = self._headers.get("retry-after", "")
        return LineAnswer(
            self._status,
            request_id,
            b"".join(self._parts),
            float(after) if after.isdigit() else None,
            self._headers.get("x-should-retry") != "false",
        )
