"""Events leave at once when idle, together under load, in order, and nothing is lost at the end."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from deployments.models.gather import gather_window_s, gathered


async def numbers(count: int, delay_s: float = 0.0, error: Exception | None = None) -> AsyncGenerator[int]:
    for number in range(count):
        yield number
        await asyncio.sleep(delay_s)
    if error:
        raise error


async def test_all_events_arrive_in_order() -> None:
    batches = [batch async for batch in gathered(numbers(100), lambda: 0.0)]
    assert [number for batch in batches for number in batch] == list(range(100))


async def test_first_event_goes_out_before_the_second_is_made() -> None:
    made: list[int] = []

    async def source() -> AsyncGenerator[int]:
        for number in range(2):
            made.append(number)
            yield number
            await asyncio.sleep(0.05)

    stream = gathered(source(), lambda: 10.0)
    assert await anext(stream) == [0]
    assert made == [0]
    await stream.aclose()


async def test_a_window_gathers_what_comes_within_it() -> None:
    batches = [batch async for batch in gathered(numbers(20, 0.005), lambda: 0.04)]
    assert batches[0] == [0]
    assert len(batches) < 10


async def test_the_end_does_not_wait_for_the_window() -> None:
    async with asyncio.timeout(1):
        batches = [batch async for batch in gathered(numbers(3), lambda: 60.0)]
    assert [number for batch in batches for number in batch] == [0, 1, 2]


async def test_an_error_comes_after_the_events_before_it() -> None:
    seen: list[int] = []
    with pytest.raises(ValueError, match="broken"):
        async for batch in gathered(numbers(3, error=ValueError("broken")), lambda: 0.0):
            seen += batch
    assert seen == [0, 1, 2]


async def test_closing_stops_the_source() -> None:
    stopped = asyncio.Event()

    async def source() -> AsyncGenerator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            stopped.set()

    stream = gathered(source(), lambda: 0.0)
    assert await anext(stream) == [1]
    await stream.aclose()
    assert stopped.is_set()


def test_few_streams_are_not_delayed_and_many_are_bounded() -> None:
    assert gather_window_s(1) == 0.0
    assert 0 < gather_window_s(16) < gather_window_s(64) <= 0.05
    assert gather_window_s(10_000) == 0.05
