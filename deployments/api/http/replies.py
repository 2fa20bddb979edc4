"""What goes back over HTTP: errors in the client's shape, and streams that notice when the client leaves."""

import logging
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.api.http.connection import ClientGone, Connection
from deployments.api.http.dialect import OPENAI, error_body, error_event, ping_event, status_of
from deployments.api.http.keep_alive import KeepAlive
from deployments.errors import ChatLLMError, Unavailable
from deployments.infra.traces import trace

logger = logging.getLogger(__name__)

STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
INNERMOST_SEND = "chatllm.send"
"""In the ASGI scope: the `send` beneath all of this service's layers, which only change how an answer starts."""


class JSON(Response):
    """A JSON response by orjson; bytes are taken as JSON already."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else orjson.dumps(content)


def error_response(error: ChatLLMError, request_id: str, scope: Mapping[str, Any] = OPENAI) -> Response:
    """Return `error` in the shape of the request's API, with `Retry-After` (whole seconds) where waiting helps.

    OpenAI's and Anthropic's clients heed `x-should-retry`, and would repeat a 429 or a 5xx by themselves.
    """
    headers: dict[str, str] = {}
    if error.retry_after_s is not None and error.may_succeed_later:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if not error.may_succeed_later:
        headers["x-should-retry"] = "false"
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSON(error_body(error, request_id, scope), status_of(error, scope), headers)


def translated(error: Exception, request_id: str = "-") -> ChatLLMError:
    """Return `error` itself if it is ours, else an internal error; what it was goes to the log, not to the client."""
    if isinstance(error, ChatLLMError):
        return error
    if isinstance(error, TimeoutError):
        return Unavailable("", None, 1.0)
    logger.error("unexpected error in %s: %s", request_id, trace(error))
    return ChatLLMError()


class EventStream(Response):
    """A stream of server-sent events that have been begun, or are waited for. It is never silent for long.

    A failure after the first byte becomes an error event and the stream's end,
    never a silent cut. When the client goes away `frames` is closed, which
    stops the work behind it. `ended` is called once, however it ended.
    """

    def __init__(
        self,
        frames: AsyncGenerator[bytes],
        headers: Mapping[str, str],
        request_id: str,
        connection: Connection,
        ended: Callable[[ChatLLMError | ClientGone | None], None],
        trailer: Callable[[], bytes] | None = None,
        silence_s: float = 15.0,
        waits_for: Callable[[], str | None] | None = None,
    ) -> None:
        """`trailer` returns what goes out behind all of it, `waits_for` what a client sees while its request is held.

        After `silence_s` without an event there is a ping.
        """
        super().__init__(None, 200, {**headers, **STREAM_HEADERS}, "text/event-stream")
        del self.headers["content-length"]
        self._frames = frames
        self._request_id = request_id
        self._connection = connection
        self._ended = ended
        self._trailer = trailer
        self._silence_s = silence_s
        self._waits_for = waits_for
        self._is_over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome: ChatLLMError | ClientGone | None = ClientGone()
        inner = scope.get(INNERMOST_SEND, send)
        has_started = False
        try:
            with self._connection:
                await send({"type": "http.response.start", "status": self.status_code, "headers": [*self.raw_headers]})
                self.raw_headers.clear()  # a kilobyte that a long stream need not hold
                has_started = True
                outcome = await self._write(inner, scope)
        except ClientGone:
            pass
        except ChatLLMError as error:  # the server has ended it
            if not has_started:
                raise
            outcome = error
            if not self._is_over:
                await self._fail(error, inner, scope)
                await inner({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._connection.close()
            await self._frames.aclose()
            self._ended(outcome)

    async def _write(self, send: Send, scope: Scope) -> ChatLLMError | None:
        failure: ChatLLMError | None = None
        alive = KeepAlive(send, self._silence_s, ping_event(scope), self._waits_for)
        try:
            await alive.begin()
            async with aclosing(self._frames):
                async for frame in self._frames:
                    if not frame:
                        continue  # it has begun, or waits
                    alive.is_writing = True
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
                    alive.sent()
        except Exception as error:  # noqa: BLE001 - the boundary to the client: every failure becomes an error event
            failure = translated(error, self._request_id)
            await self._fail(failure, send, scope)
        finally:
            alive.close()
        end = self._trailer() if self._trailer is not None else b""
        self._is_over = True
        await send({"type": "http.response.body", "body": end, "more_body": False})
        return failure

    async def _fail(self, error: ChatLLMError, send: Send, scope: Scope) -> None:
        event = error_event(error, self._request_id, scope)
        await send({"type": "http.response.body", "body": event, "more_body": True})
