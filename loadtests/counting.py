"""Streams held by processes of their own, whose tokens are counted at the same time (`relay.py`).

One client is full at some 100,000 tokens a second; so are as many as they have cores.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection

import uvloop

from loadtests.paced import Client, Tally
from loadtests.streams import Target

END_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """What one client asks for: so many streams, each of so many tokens."""

    target: Target
    model: str
    max_tokens: int
    streams: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What came to one client within the window."""

    events: int
    pieces: int
    gaps_s: list[float]
    spent_s: float
    """Seconds of CPU that the client took."""
    failures: dict[str, int]
    """Of all its streams, since they were asked for."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Clients whose streams have all begun, or failed."""

    connections: list[Connection]

    async def count(self, window_s: float) -> list[Counted]:
        """Have all of them count from now on; returns when the window has passed and every stream has been left."""
        for connection in self.connections:
            connection.send(window_s)
        return await asyncio.gather(*(asyncio.to_thread(connection.recv) for connection in self.connections))


@asynccontextmanager
async def counters(loads: list[StreamLoad]) -> AsyncGenerator[Counters]:
    """Start a process for each of `loads` and yield them once their streams are open; ends the processes.

    EOFError: one of them could not connect, and said why on standard error.
    """
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in loads]
    processes = [
        context.Process(target=_client, args=(one, theirs), daemon=True)
        for one, (_, theirs) in zip(loads, pipes, strict=True)
    ]
    for process, (_, theirs) in zip(processes, pipes, strict=True):
        process.start()
        theirs.close()
    try:
        connections = [ours for ours, _ in pipes]
        await asyncio.gather(*(asyncio.to_thread(connection.recv) for connection in connections))
        yield Counters(connections)
    finally:
        for process, (ours, _) in zip(processes, pipes, strict=True):
            ours.close()
            await asyncio.to_thread(process.join, END_TIMEOUT_S)
            process.kill()


def _client(load: StreamLoad, connection: Connection) -> None:
    uvloop.run(_count(load, connection))


async def _count(load: StreamLoad, connection: Connection) -> None:
    tally = Tally()
    opened = await Client(load.target).open(tally, load.model, load.max_tokens, load.streams)
    connection.send(None)
    window_s: float = await asyncio.to_thread(connection.recv)
    events, pieces, gaps, spent_s = tally.events, tally.pieces, len(tally.gaps_s), time.process_time()
    await asyncio.sleep(window_s)
    counted = Counted(
        tally.events - events,
        tally.pieces - pieces,
        tally.gaps_s[gaps:],
        time.process_time() - spent_s,
        tally.failures,
    )
    for stream in opened:
        stream.leave()
    connection.send(counted)
