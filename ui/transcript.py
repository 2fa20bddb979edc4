"""The conversation as it is read: turns from top to bottom, the last of which may still be growing."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from nicegui import background_tasks, ui

from ui.generation import Answer
from ui.message import AnswerView, show_question, show_stored_answer, show_trouble
from ui.parts import button, tag
from ui.thread import Turn
from ui.trouble import Trouble

SHOW_EVERY_S = 0.1
SHOW_SHARE = 5  # rendering takes at most one part in six of a core, however long the text is


class Transcript:
    """Shows turns, and follows one running answer at a time."""

    def __init__(self, on_retry: Callable[[], Any], on_earlier: Callable[[], Any]) -> None:
        self._on_retry, self._on_earlier = on_retry, on_earlier
        self._root = tag("div", "turns", role="log", aria_label="Conversation")
        ui.html("").classes("hidden")  # so that the browser has the component before the first answer needs it
        self._following: asyncio.Task[None] | None = None
        self._last: AnswerView | None = None
        ui.context.client.on_delete(self.release)

    def release(self) -> None:
        """Follow nothing any more."""
        if self._following is not None:
            self._following.cancel()
            self._following = None

    def clear(self) -> None:
        """Show an empty conversation."""
        self.release()
        self._root.clear()
        self._last = None

    def show(self, turns: Sequence[Turn], has_earlier: bool) -> None:
        """Show these turns and no others."""
        self.clear()
        with self._root:
            if has_earlier:
                button("Show earlier messages", self._on_earlier, "quiet earlier")
            for turn in turns:
                self._show_turn(turn)

    def show_trouble(self, trouble: Trouble, on_retry: Callable[[], Any]) -> None:
        """Show that the conversation itself could not be had."""
        self.clear()
        with self._root:
            show_trouble(trouble, on_retry)

    def ask(self, question: str) -> AnswerView:
        """Show a question that has just been asked, and the place of its answer."""
        with self._root:
            show_question(question)
        return self.answer()

    def answer(self) -> AnswerView:
        """Open the place of the next answer, below all others."""
        if self._last is not None:
            self._last.give_up()
        with self._root:
            self._last = AnswerView(self._on_retry)
        return self._last

    def drop_last_answer(self) -> None:
        """Take the last answer away: it is about to be tried again."""
        if self._last is not None:
            self._last.root.delete()
            self._last = None

    def follow(self, answer: Answer, view: AnswerView) -> None:
        """Show `answer` in `view` as it grows, at once and then at most every `SHOW_EVERY_S`."""
        self.release()
        self._following = background_tasks.create(_follow(answer, view), name="follow an answer")

    def _show_turn(self, turn: Turn) -> None:
        if turn.role == "user":
            show_question(turn.text)
        elif turn.role == "assistant" and turn.answer is not None:
            view = self.answer()
            view.show(turn.answer)
            if turn.answer.is_running:
                self.follow(turn.answer, view)
        elif turn.role == "assistant":
            show_stored_answer(turn.text, turn.is_incomplete)


async def _follow(answer: Answer, view: AnswerView) -> None:
    version = -1
    while True:
        await answer.changed_since(version)
        version, began = answer.version, time.perf_counter()
        view.show(answer)
        if not answer.is_running:
            return
        await asyncio.sleep(max(SHOW_EVERY_S, SHOW_SHARE * (time.perf_counter() - began)))
