"""What every request passes first: an end to its body, an id, headers of a fair size, a place among those that run."""

import asyncio
import re
import secrets
from collections.abc import Callable
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.http.dialect import is_anthropic
from deployments.api.http.replies import INNERMOST_SEND, error_response, translated
from deployments.errors import BadRequest, HeadersTooLarge, Overloaded
from deployments.infra.timing import Timing

ACCEPTED_ID = re.compile(r"[!-~]{1,128}")
MAX_HEADER_BYTES = 49_152
SMALL_BODY_BYTES = 65_536
LINGER_S = 2.0


class Lingering:
    """Ends the connection of a request that is answered before its body has been read.

    The server would read and discard such a body for as long as it is sent. To
    close at once would reset the connection, and many clients would lose the
    answer: so the answer goes out whole, what comes is discarded for at most
    `LINGER_S` seconds, and then the connection ends.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[INNERMOST_SEND] = send
        try:
            await self._answer(scope, receive, send)
        finally:
            del scope[INNERMOST_SEND]  # which holds the scope: else both wait for the garbage collector

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_small(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        is_read = is_closing = False

        async def receive_and_note() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def send_and_linger(message: Message) -> None:
            nonlocal is_closing
            if message["type"] == "http.response.start" and not is_read:
                is_closing = True
                MutableHeaders(scope=message)["connection"] = "close"
            if not is_closing or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            await send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while not is_read:
                        await receive_and_note()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, receive_and_note, send_and_linger)


def _is_small(headers: Headers) -> bool:
    length = headers.get("content-length", "0")
    return "transfer-encoding" not in headers and length.isdigit() and int(length) <= SMALL_BODY_BYTES


class RequestId:
    """Takes the client's `x-request-id` or makes one: it is returned, logged and part of every error.

    Around all that can fail, so that even what nobody foresaw is answered in
    the API's shape, with the id. One that is too long or not printable is refused:
    Serve returns what came, so that another in its place would be in the error alone.
    The request's `Timing` begins here too; `Server-Timing` has what is known of it when the answer begins.
    """

    def __init__(self, app: ASGIApp, is_echoed: bool) -> None:
        """`is_echoed` says that the server around us returns the request's header already, as Serve does."""
        self._app = app
        self._is_echoed = is_echoed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id")
        request_id = f"req_{secrets.token_hex(12)}" if given is None else given
        timing = Timing()
        scope.setdefault("state", {}).update(request_id=request_id, timing=timing)
        has_started = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                timing.mark("other")
                message["headers"] = [*message["headers"], (b"server-timing", timing.header().encode())]
                if not self._is_echoed:
                    MutableHeaders(scope=message)["x-request-id"] = request_id
                if is_anthropic(scope):
                    MutableHeaders(scope=message)["request-id"] = request_id
            await send(message)

        try:
            _check(Headers(scope=scope), request_id)
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if has_started:
                raise
            await error_response(translated(error, request_id), request_id, scope)(scope, receive, send_with_id)


def _check(headers: Headers, request_id: str) -> None:
    if not ACCEPTED_ID.fullmatch(request_id):
        raise BadRequest("x-request-id must be 1 to 128 printable ASCII characters without spaces.", "x-request-id")
    if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"The request's headers are larger than {MAX_HEADER_BYTES} bytes.")


class ConcurrencyLimit:
    """Refuses requests past a number that run at once with 503, so that memory stays bounded; health is exempt."""

    def __init__(self, app: ASGIApp, limit: Callable[[], int]) -> None:
        self._app = app
        self._limit = limit
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ("/health", "/ready"):
            await self._app(scope, receive, send)
            return
        if self._running >= self._limit():
            refused = Overloaded(
                "This server has reached its limit of concurrent requests; please try again.", None, 1.0
            )
            await error_response(refused, scope["state"]["request_id"], scope)(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
