"""Many streams at the least cost to the client: their events are counted, none is parsed.

streams.py times every event and believes the server's own usage; here a thousand
answers come at once, to a client that shares its cores with what it measures.
"""

import asyncio
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from loadtests.streams import Target

OK = b"HTTP/1.1 200 "
EVENT_END = b"\n\n"
HEAD_END = b"\r\n\r\n"
DONE = b"DONE]"
TAIL_BYTES = 64
"""More than `[DONE]` and the framing behind it."""
CONNECTING_AT_ONCE = 32
TIMEOUT_S = 120.0
"""For a stream to begin, and for an answer of one token."""


@dataclass(slots=True)
class Tally:
    """What came for all streams together; grows while they run."""

    events: int = 0
    """Each token is one; an answer has its opening, its end and `[DONE]` besides."""
    pieces: int = 0
    """How often something arrived: an event, or as many as came together."""
    opened: int = 0
    """Streams whose first event has come."""
    whole: int = 0
    """Streams that ended with their `[DONE]`."""
    failures: dict[str, int] = field(default_factory=dict[str, int])
    first_s: list[float] = field(default_factory=list[float])
    """Seconds from connecting to the first event, of each stream."""
    gaps_s: list[float] = field(default_factory=list[float])
    """Seconds between two arrivals of one stream."""


class Stream(asyncio.Protocol):
    """One streamed answer over a connection of its own, which the server closes."""

    def __init__(self, request: bytes, tally: Tally, began: float) -> None:
        self._request = request
        self._tally = tally
        self._began = self._last = began
        self._tail = b""
        self._has_status = self._has_left = False
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        tally, now = self._tally, time.perf_counter()
        if not self.opened.done():
            self._tail += data
            head, found, body = self._tail.partition(HEAD_END)
            if not found or (EVENT_END not in body and head.startswith(OK)):
                return
            self._has_status = head.startswith(OK)
            self.opened.set_result(None)
            tally.opened += self._has_status
            tally.first_s.append(now - self._began)
            data, self._tail = body, b"" if self._has_status else self._tail
        else:
            tally.gaps_s.append(now - self._last)
        self._last = now
        tally.pieces += 1
        tally.events += data.count(EVENT_END) + (self._tail[-1:] == data[:1] == b"\n")
        self._tail = (self._tail + data)[-TAIL_BYTES:] if self._has_status else self._tail

    def connection_lost(self, exc: Exception | None) -> None:
        if DONE in self._tail:
            self._tally.whole += 1
        elif not self._has_left:
            kind = "cut off" if self._has_status else f"status {self._tail[9:12].decode() or 'none'}"
            self._tally.failures[kind] = self._tally.failures.get(kind, 0) + 1
        for waited_for in (self.opened, self.ended):
            if not waited_for.done():
                waited_for.set_result(None)

    def leave(self) -> None:
        """Close the connection, whatever was still to come; that is no failure."""
        self._has_left = True
        if self._transport is not None:
            self._transport.close()


class Client:
    """Opens streams to one server."""

    def __init__(self, target: Target) -> None:
        self._target = target
        address = urlsplit(target.url)
        self._secure = ssl.create_default_context() if address.scheme == "https" else None
        self._address = address.hostname or "", address.port or (443 if self._secure else 80)
        self._number = time.time_ns()

    async def start(self, tally: Tally, model: str, max_tokens: int) -> Stream:
        """Connect and ask `model` for an answer to a prompt that nobody sent before; raises OSError."""
        self._number += 1
        request = self._request(model, f"({self._number}) Tell me what you can do.", max_tokens)
        began, loop = time.perf_counter(), asyncio.get_running_loop()
        _, stream = await loop.create_connection(
            lambda: Stream(request, tally, began), *self._address, ssl=self._secure
        )
        return stream

    async def open(self, tally: Tally, model: str, max_tokens: int, count: int) -> list[Stream]:
        """Return that many streams, each of which has begun, or failed."""
        limiter = asyncio.Semaphore(CONNECTING_AT_ONCE)

        async def begin() -> Stream:
            async with limiter:
                async with asyncio.timeout(TIMEOUT_S):
                    stream = await self.start(tally, model, max_tokens)
                    await stream.opened
                return stream

        return await asyncio.gather(*(begin() for _ in range(count)))

    async def ask(self, tally: Tally, model: str, connections: int, requests: int) -> float:
        """Have answers of one token, that many at a time, and return the seconds that all took."""
        left = iter(range(requests))

        async def work() -> None:
            for _ in left:
                async with asyncio.timeout(TIMEOUT_S):
                    await (await self.start(tally, model, 1)).ended

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(connections)))
        return time.perf_counter() - began

    def _request(self, model: str, prompt: str, max_tokens: int) -> bytes:
        messages = [{"role": "user", "content": prompt}]
        body = json.dumps(
            {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0, "stream": True}
        )
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            f"Host: {self._address[0]}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"Authorization: Bearer {self._target.key}",
            *self._target.headers,
            "Connection: close",
        ]
        return ("\r\n".join([*lines, "", ""]) + body).encode()
