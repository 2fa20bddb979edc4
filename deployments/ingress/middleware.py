"""What every request passes first: an id, and a place among those that run at once."""

import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import Overloaded
from deployments.ingress.answers import error_response, translated

ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestId:
    """Takes the client's `x-request-id` or makes one: it is returned, logged and part of every error.

    Outermost, so that even what nobody foresaw is answered in OpenAI's shape, with the id.
    """

    def __init__(self, app: ASGIApp, is_echoed: bool) -> None:
        """`is_echoed` says that the server around us returns the request's header already, as Serve does."""
        self._app = app
        self._is_echoed = is_echoed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        request_id = given if ACCEPTED_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        has_started = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                if not self._is_echoed:
                    MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if has_started:
                raise
            await error_response(translated(error), request_id)(scope, receive, send_with_id)


class ConcurrencyLimit:
    """Refuses requests past a number that run at once with 503, so that memory stays bounded; health is exempt."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ("/health", "/ready"):
            await self._app(scope, receive, send)
            return
        if self._running >= self._limit:
            refused = Overloaded("This server handles as many requests as it may; please try again.", None, 1.0)
            await error_response(refused, scope["state"]["request_id"])(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
