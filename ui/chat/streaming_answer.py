"""An answer while it is generated: an activity indicator, the reasoning, and the text."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from ui.api.errors import duration
from ui.api.stream import Queued
from ui.i18n import t
from ui.markdown.pool import Renderer
from ui.state.generation import Answer
from ui.widgets.elements import attribute, button, tag, text_element
from ui.widgets.markdown import MarkdownStream

SHOW_EVERY_S = 0.1
SHOW_SHARE = 5  # ordinary rendering takes at most a sixth of a core
MAX_PAUSE_S = 1.0  # longer renderings had to wait, e.g. for a process to start, which is no reason to slow down


class StreamingAnswer:
    """Renders into the current slot; `show` may be called repeatedly."""

    def __init__(self, renderer: Renderer, on_cancel: Callable[[], object]) -> None:
        """`on_cancel` is called when the reader does not want to wait for the rate limit."""
        self._renderer = renderer
        self._thoughts: MarkdownStream | None = None
        self._waiting = tag("div", "thinking", role="status")
        with self._waiting:
            for _ in range(3):
                tag("i")
            text_element("span", t("Generating the answer"), "unseen")
            self._place = text_element("span", "", "queue-place").mark("queue-place")
        self._limit = LimitNotice(on_cancel)
        self._reasoning = tag("details", "reasoning").mark("reasoning")
        self._reasoning.set_visibility(False)
        self._text = MarkdownStream(renderer, is_announced=True)

    async def show(self, answer: Answer) -> None:
        """Update to `answer`, in the language of the current slot."""
        self._limit.show(answer.sends_at)
        self._waiting.set_visibility(answer.sends_at is None and not answer.text)
        self._place.text = _place(answer.queued) if answer.queued else ""
        if answer.reasoning:
            await self._think(answer)
        if answer.text:
            await self._text.show(answer.text)

    def end(self) -> None:
        """No more comes."""
        self._waiting.delete()
        self._limit.show(None)
        self._text.end()

    async def _think(self, answer: Answer) -> None:
        with self._reasoning:
            if self._thoughts is None:
                self._reasoning.set_visibility(True)
                self._summary = text_element("summary", t("Thinking…"))
                self._thoughts = MarkdownStream(self._renderer)
            if answer.text or not answer.is_running:
                self._summary.text = t("Thoughts")
        await self._thoughts.show(answer.reasoning)


def _place(queued: Queued) -> str:
    if queued.wait_s is None:
        return t("The model is busy. Position in the queue: {position}.", position=queued.position)
    return t(
        "The model is busy. Position in the queue: {position}, about {time}.",
        position=queued.position,
        time=duration(queued.wait_s),
    )


class LimitNotice:
    """Shows that a message waits for the rate limit, and for how long; hidden otherwise."""

    def __init__(self, on_cancel: Callable[[], object]) -> None:
        with tag("div", "error-notice waits", role="status") as self._root:
            text_element("div", t("Rate limit reached"), "error-title")
            text_element("div", t("Your message will be sent automatically."), "error-advice")
            with tag("div", "error-actions"):
                self._countdown = attribute(text_element("span", "", "countdown"), role="timer").mark("countdown")
                button(t("Cancel"), on_cancel, "small quiet").mark("cancel-wait")
        self._root.set_visibility(False)

    def show(self, sends_at: float | None) -> None:
        """Show how long it is until then."""
        self._root.set_visibility(sends_at is not None)
        if sends_at is not None:
            self._countdown.text = t("Sending in {time}.", time=duration(sends_at - time.monotonic()))


async def follow(answer: Answer, show: Callable[[Answer], Awaitable[object]]) -> None:
    """Call `show` as the answer arrives, at most every `SHOW_EVERY_S`, until it has ended."""
    version = -1
    while True:
        await answer.changed_since(version)
        version, has_ended, began = answer.version, not answer.is_running, time.perf_counter()
        await show(answer)
        if has_ended:  # and not while it was being shown: then there is more to show
            return
        took_s = time.perf_counter() - began
        await asyncio.sleep(min(max(SHOW_EVERY_S, SHOW_SHARE * took_s), MAX_PAUSE_S))
