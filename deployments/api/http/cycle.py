"""One request and its answer in uvicorn, where Serve and HTTP/1.0 clients need something else than uvicorn does."""

from collections.abc import Container
from typing import Any, cast

from uvicorn.protocols.http import httptools_impl

from deployments.infra.ray.disconnects import UNWATCHED


class Cycle(httptools_impl.RequestResponseCycle):
    """A stream to an HTTP/1.0 client is plain bytes until the connection ends, and no connection is watched twice.

    uvicorn sends a stream in chunks, which HTTP/1.0 does not know (https://www.rfc-editor.org/rfc/rfc9112#section-6.1).
    `watched` are the paths whose POSTs notice by themselves who leaves (`Connection`), so that Serve need not.
    """

    watched: Container[str] = ()
    is_until_close = False

    async def run_asgi(self, app: Any) -> None:
        if self.scope["method"] == "POST" and self.scope["path"] in self.watched:
            cast(list[tuple[bytes, bytes]], self.scope["headers"]).append(UNWATCHED)
        await super().run_asgi(app)

    async def send(self, message: Any) -> None:
        if self.scope["http_version"] == "1.0" and self.chunked_encoding is None:
            self.is_until_close = not any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            self.chunked_encoding = False if self.is_until_close else None
        if self.is_until_close and message["type"] == "http.response.body":
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


def install_cycle(watched: Container[str]) -> None:
    """Let uvicorn's servers in this process use it; POSTs to the paths `watched` notice by themselves who leaves."""
    Cycle.watched = watched
    httptools_impl.RequestResponseCycle = Cycle
