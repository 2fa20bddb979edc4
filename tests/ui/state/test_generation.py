"""Answers that this process follows, without a page."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from ui.api.stream import Delta, Event, Finished, Question
from ui.chat.streaming_answer import follow
from ui.state import generation
from ui.state.generation import Answer, Generations


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


class Brief(Silent):
    """A service that has nothing to say."""

    async def ask(self, question: Question) -> AsyncGenerator[Event]:
        yield Finished("stop")


async def test_nobody_waits_for_an_answer_that_is_followed_no_more() -> None:
    generations = Generations()
    answer = generations.start(Silent(), Question("conv_1", "Q", "guide"))
    waiting = [answer.named(), answer.changed_since(0), generations.stop("conv_1")]
    waiting_for = asyncio.gather(*waiting)
    await asyncio.sleep(0)
    await generations.aclose()
    async with asyncio.timeout(1):
        assert (await waiting_for)[0] == ""


async def test_what_is_kept_of_answers_is_bounded_in_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "MAX_KEPT_CHARS", 1_000)
    generations = Generations()
    for number in range(5):
        generations.start(Brief(), Question(f"conv_{number}", "x" * 400, "guide"))
        await asyncio.sleep(0.01)
    assert [bool(generations.of(f"conv_{number}")) for number in range(5)] == [False, False, False, True, True]
    held = [generations.start(Silent(), Question(f"held_{number}", "x" * 400, "guide")) for number in range(4)]
    assert [generations.of(f"held_{number}") for number in range(4)] == held  # what is running stays
    assert not generations.of("conv_4")
    await generations.aclose()


async def test_what_comes_while_an_answer_is_being_shown_is_shown_too() -> None:
    """Its end included: rendering takes a while, in a process of its own."""
    answer = Answer(Question("conv_1", "Q", "guide"))
    shown: list[str] = []

    async def show(answer: Answer) -> None:
        text = answer.text
        if not shown:
            answer.take(Delta(text=" and the rest"))
            answer.close("done")
        await asyncio.sleep(0)
        shown.append(text)

    answer.take(Delta(text="The beginning"))
    await asyncio.wait_for(follow(answer, show), 5)
    assert shown == ["The beginning", "The beginning and the rest"]
