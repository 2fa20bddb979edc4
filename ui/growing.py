"""An answer while it is written: a sign of life, what the model thinks, and the text."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from ui.generation import Answer
from ui.parts import tag, words
from ui.prose import GrowingProse
from ui.rendering import Renderer
from ui.texts import t

SHOW_EVERY_S = 0.1
SHOW_SHARE = 5  # rendering takes at most one part in six of a core, however long the text is


class GrowingAnswer:
    """Stands where it is made; `show` may be called as often as it pleases."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._thoughts: GrowingProse | None = None
        self._waiting = tag("div", "thinking", role="status")
        with self._waiting:
            for _ in range(3):
                tag("i")
            words("span", t("The answer is on its way"), "unseen")
        self._reasoning = tag("details", "reasoning").mark("reasoning")
        self._reasoning.set_visibility(False)
        self._text = GrowingProse(renderer, is_announced=True)

    async def show(self, answer: Answer) -> None:
        """Bring it up to `answer`, in the language of the slot that is open."""
        if answer.reasoning:
            await self._think(answer)
        if answer.text:
            self._waiting.set_visibility(False)
            await self._text.show(answer.text)

    def end(self) -> None:
        """No more comes."""
        self._waiting.delete()
        self._text.end()

    async def _think(self, answer: Answer) -> None:
        with self._reasoning:
            if self._thoughts is None:
                self._reasoning.set_visibility(True)
                self._summary = words("summary", t("Thinking …"))
                self._thoughts = GrowingProse(self._renderer)
            if answer.text or not answer.is_running:
                self._summary.text = t("Thoughts")
        await self._thoughts.show(answer.reasoning)


async def follow(answer: Answer, show: Callable[[Answer], Awaitable[object]]) -> None:
    """Call `show` as the answer grows, at once and then at most every `SHOW_EVERY_S`, until it has ended."""
    version = -1
    while True:
        await answer.changed_since(version)
        version, began = answer.version, time.perf_counter()
        await show(answer)
        if not answer.is_running:
            return
        await asyncio.sleep(max(SHOW_EVERY_S, SHOW_SHARE * (time.perf_counter() - began)))
