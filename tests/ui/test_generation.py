"""Answers that this process follows, without a page."""

import asyncio
from collections.abc import AsyncGenerator

from ui.generation import Generations
from ui.stream import Event, Question


class Silent:
    """A service that never says anything."""

    async def ask(self, question: Question) -> AsyncGenerator[Event]:
        await asyncio.Event().wait()
        raise AssertionError
        yield

    async def take_up(self, response_id: str) -> AsyncGenerator[Event]:
        raise AssertionError
        yield

    async def cancel(self, response_id: str) -> None:
        raise AssertionError


async def test_nobody_waits_for_an_answer_that_is_followed_no_more() -> None:
    generations = Generations()
    answer = generations.start(Silent(), Question("conv_1", "Q", "guide"))
    waiting = [answer.named(), answer.changed_since(0), generations.stop("conv_1")]
    waiting_for = asyncio.gather(*waiting)
    await asyncio.sleep(0)
    await generations.aclose()
    async with asyncio.timeout(1):
        assert (await waiting_for)[0] == ""
