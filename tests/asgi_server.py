"""ASGI applications on real sockets of this machine: uvicorn, but a test does not sit out the ticks it ends by."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import uvicorn
from starlette.types import ASGIApp

POLL_S = 0.002


def _listener(port: int) -> socket.socket:
    """Return a socket whose connections send at once: asyncio sets TCP_NODELAY only where the protocol is named."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


class PromptServer(uvicorn.Server):
    """Ends as soon as its connections have, where uvicorn looks ten times a second. Leaves signals to pytest."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        super().__init__(uvicorn.Config(app, log_level="warning", **options))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let it end; may be called from any thread, once it has started."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stopped.set)

    def capture_signals(self) -> nullcontext[None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        await self.on_tick(0)  # sets the headers of all answers
        await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            for task in self.server_state.tasks:
                task.cancel()
        await self.lifespan.shutdown()


@asynccontextmanager
async def served(app: ASGIApp, port: int = 0, **options: Any) -> AsyncGenerator[str]:
    """Serve `app` in this event loop; yields its URL. `options` are uvicorn's."""
    server, listener = PromptServer(app, **options), _listener(port)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:
        assert not serving.done(), "the application did not start"
        await asyncio.sleep(POLL_S)
    try:
        yield url
    finally:
        server.stop()
        await serving


@contextmanager
def served_aside(app: ASGIApp, port: int = 0, **options: Any) -> Generator[str]:
    """Serve `app` in a thread of its own, for callers that block theirs; yields its URL. `options` are uvicorn's."""
    server, listener = PromptServer(app, **options), _listener(port)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the application did not start"
        time.sleep(POLL_S)
    try:
        yield url
    finally:
        server.stop()
        thread.join(10)
