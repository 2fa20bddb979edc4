"""What clients may do besides the documented: HEAD wherever GET is, one slash too many."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


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
