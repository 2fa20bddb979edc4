"""A stream of messages is never silent for long, and says nothing before its first event."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from deployments.errors import ModelFailed
from deployments.messages.pings import PING, with_pings


async def test_silence_is_filled_with_pings_after_the_first_event() -> None:
    async def frames() -> AsyncGenerator[bytes]:
        await asyncio.sleep(0.1)
        yield b"first"
        yield b"second"
        await asyncio.sleep(0.25)
        yield b"last"

    told = [data async for data in with_pings(frames(), 0.04)]
    assert told[:2] == [b"first", b"second"] and told[-1] == b"last"
    assert set(told[2:-1]) == {PING} and len(told) >= 5
    assert PING == b'event: ping\ndata: {"type":"ping"}\n\n'


async def test_closing_it_closes_what_it_reads() -> None:
    closed: list[str] = []

    async def frames() -> AsyncGenerator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.append("closed")

    stream = with_pings(frames(), 0.02)
    assert [await anext(stream), await anext(stream)] == [b"first", PING]
    await stream.aclose()
    assert closed == ["closed"]


async def test_cancelling_it_closes_what_it_reads() -> None:
    closed: list[str] = []

    async def frames() -> AsyncGenerator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.append("closed")

    async def read() -> None:
        async for _ in with_pings(frames(), 60):
            pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    for _ in range(100):
        if closed:
            break
        await asyncio.sleep(0.01)
    assert closed == ["closed"]


async def test_a_failure_comes_through() -> None:
    async def frames() -> AsyncGenerator[bytes]:
        yield b"first"
        raise ModelFailed

    stream = with_pings(frames())
    assert await anext(stream) == b"first"
    with pytest.raises(ModelFailed):
        await anext(stream)
