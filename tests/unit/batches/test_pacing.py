"""Lines begin one after another, and the slower the busier the event loop is."""

import asyncio
import time
from contextlib import suppress

import pytest

from deployments.batches import pacing
from deployments.batches.pacing import Pace


async def test_turns_come_in_order_and_one_that_leaves_keeps_nobody_waiting() -> None:
    pace, order = Pace(), list[int]()

    async def take(number: int) -> None:
        await pace.turn()
        order.append(number)

    began = time.monotonic()
    tasks = [asyncio.create_task(take(number)) for number in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel(), tasks[4].cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)
    await asyncio.wait(tasks)
    assert order == [1, 2, 3, 5, 6, 7, 8, 9]
    assert time.monotonic() - began >= 8 * pacing.SPACE_S * 0.9


async def test_a_busy_event_loop_makes_them_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "SPACE_S", 0.001)
    pace = Pace()
    turn = asyncio.create_task(pace.turn())
    await asyncio.sleep(0)
    time.sleep(0.02)  # noqa: ASYNC251 - what others do on this event loop
    await turn
    began = time.monotonic()
    await pace.turn()
    assert time.monotonic() - began >= 0.03
    await pace.turn()
    await pace.turn()
    for _ in range(20):
        began = time.monotonic()
        await pace.turn()
        if time.monotonic() - began < 0.01:
            return
    pytest.fail("it is as slow though nothing else happens any more")


async def test_it_never_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "MAX_SPACE_S", 0.02)
    pace = Pace()
    turn = asyncio.create_task(pace.turn())
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - as above
    await turn
    async with asyncio.timeout(0.3):
        await pace.turn()
