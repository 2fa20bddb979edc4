"""What clients may do besides the documented: HEAD wherever GET is, one slash too many, HTTP/1.0."""

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl


class LenientRouting:
    """Answers HEAD as it would GET, without the body, and a path with one trailing slash as the path without it.

    Not by a redirect: many clients follow one with GET, and so lose their body, or without their key.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.endswith("/") and path != "/":
                scope = {**scope, "path": path[:-1], "raw_path": scope.get("raw_path", b"").removesuffix(b"/")}
            if scope["method"] == "HEAD":
                scope, send = {**scope, "method": "GET"}, _without_body(send)
        await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    """Return a `send` that ends the answer behind its headers, so that a stream does not go on for nobody."""
    has_ended = False

    async def send_headers(message: Message) -> None:
        nonlocal has_ended
        if message["type"] == "http.response.start":
            await send(message)
        elif not has_ended:
            has_ended = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_headers


class PlainForHTTP10(httptools_impl.RequestResponseCycle):
    """One request and its answer, in uvicorn: a stream to an HTTP/1.0 client is plain bytes until the connection ends.

    uvicorn sends it in chunks, which HTTP/1.0 does not know (https://www.rfc-editor.org/rfc/rfc9112#section-6.1).
    """

    is_until_close = False

    async def send(self, message: Any) -> None:
        if self.scope["http_version"] == "1.0" and self.chunked_encoding is None:
            self.is_until_close = not any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            self.chunked_encoding = False if self.is_until_close else None
        if self.is_until_close and message["type"] == "http.response.body":
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


def speak_plainly_to_http10() -> None:
    """Let uvicorn's servers in this process do so."""
    httptools_impl.RequestResponseCycle = PlainForHTTP10
