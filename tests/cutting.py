"""A TCP proxy that cuts connections in mid-answer, and a client that resumes what it cut."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

PATH = "/v1/chat/completions"
RESUMABLE = {"x-chatllm-resumable": "1"}
PATIENCE_S = 240.0


@asynccontextmanager
async def cutting_proxy(url: str, events: Callable[[], int | None]) -> AsyncGenerator[str]:
    """Relay connections to `url`; each is reset once as many events of a stream as `events` says have passed.

    None: it is left alone.
    """
    target, serving = urlsplit(url), set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(task := asyncio.create_task(serve(reader, writer)))
        task.add_done_callback(serving.discard)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection(target.hostname, target.port)
        upward = asyncio.create_task(_copy(reader, away))
        left = events()
        try:
            while data := await there.read(65_536):
                if left is not None:
                    left -= data.count(b"data: ")
                    if left < 0:  # in the middle of an event, perhaps, but behind the headers, which name the stream
                        writer.write(data[: max(len(data) // 2, data.find(b"\r\n\r\n") + 4)])
                        break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            upward.cancel()
            away.transport.abort()
            if left is not None and left < 0:
                writer.transport.abort()
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)  # their transports close


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@dataclass
class Client:
    """Reads one stream to its end, over whatever address `next_url` says each time that the connection is lost."""

    key: str
    next_url: Callable[[], str]
    stream_id: str = ""
    last_id: str = ""
    text: str = ""
    ids: list[str] = field(default_factory=list[str])
    is_done: bool = False
    error: dict[str, Any] | None = None
    resumed: int = 0

    async def run(self, request: dict[str, Any]) -> "Client":
        """Ask at `next_url()` and come back until all of the answer is here, or an error is."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.is_done and self.error is None:
                with contextlib.suppress(httpx.TransportError):
                    await self._read(request)
        return self

    async def _read(self, request: dict[str, Any]) -> None:
        headers = {"authorization": f"Bearer {self.key}", **({} if self.stream_id else RESUMABLE)}
        if self.last_id:
            headers["last-event-id"] = self.last_id
        method, path = ("GET", f"/v1/streams/{self.stream_id}") if self.stream_id else ("POST", PATH)
        self.resumed += bool(self.stream_id)
        async with (
            httpx.AsyncClient(base_url=self.next_url(), headers=headers, timeout=30) as http,
            http.stream(method, path, json=None if self.stream_id else {**request, "stream": True}) as response,
        ):
            if response.status_code == 503:
                await asyncio.sleep(0.1)
                return
            assert response.status_code == 200, (response.status_code, await response.aread())
            self.stream_id = self.stream_id or response.headers["x-chatllm-stream-id"]
            async for line in response.aiter_lines():
                self._take(line)

    def _take(self, line: str) -> None:
        if line.startswith("id: "):
            self._id = line[4:]
        if not line.startswith("data: "):
            return
        if line != "data: [DONE]":
            event = orjson.loads(line[6:])
            self.error = event.get("error")
            self.text += "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))
        self.is_done = line == "data: [DONE]"
        self.last_id = self._id
        self.ids.append(self._id)

    _id: str = ""
