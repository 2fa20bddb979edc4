"""The transcript: turns from top to bottom, the last of which may still be streaming."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from nicegui import background_tasks, ui

from ui.api.errors import ApiError
from ui.chat.answer import AnswerView
from ui.chat.message_actions import Actions
from ui.chat.question import QuestionView
from ui.chat.streaming_answer import follow
from ui.i18n import t
from ui.markdown.pool import Renderer
from ui.state.generation import Answer
from ui.state.thread import Turn
from ui.widgets.elements import button, tag
from ui.widgets.error_notice import show_error


class Transcript:
    """Shows turns, and follows one running answer at a time."""

    def __init__(self, actions: Actions, on_earlier: Callable[[], Any], renderer: Renderer) -> None:
        self._actions, self._on_earlier, self._renderer = actions, on_earlier, renderer
        # Each answer announces itself to screen readers; opening a conversation announces nothing.
        self._root = tag("div", "turns", role="log", aria_live="off", aria_label=t("Conversation"))
        ui.html("").classes("hidden")  # so that the browser has the component before the first answer needs it
        self._following: asyncio.Task[None] | None = None
        self._views: list[QuestionView | AnswerView] = []
        self._earlier: ui.element | None = None
        ui.context.client.on_delete(self.release)

    def release(self) -> None:
        """Stop following."""
        if self._following is not None:
            self._following.cancel()
            self._following = None

    def clear(self) -> None:
        """Show an empty conversation."""
        self.release()
        self._root.clear()
        self._views, self._earlier = [], None

    def show(self, turns: Sequence[Turn], has_earlier: bool = False) -> None:
        """Show exactly these turns; matching views from the first on are reused."""
        if has_earlier != (self._earlier is not None):
            self.clear()
            if has_earlier:
                with self._root:
                    self._earlier = button(t("Show earlier messages"), self._on_earlier, "quiet earlier")
        same = 0
        while same < min(len(turns), len(self._views)) and self._views[same].takes(turns[same]):
            same += 1
        self._cut(same)
        for turn in turns[same:]:
            self._add(turn)

    def learn(self, turns: Sequence[Turn]) -> None:
        """Update the shown turns in place."""
        for view, turn in zip(reversed(self._views), reversed(turns), strict=False):
            if not view.takes(turn):
                return

    def show_error(self, error: ApiError, on_retry: Callable[[], Any]) -> None:
        """Show that the conversation could not be loaded."""
        self.clear()
        with self._root:
            show_error(error, on_retry)

    def ask(self, question: str) -> AnswerView:
        """Show a new question and a placeholder for its answer."""
        self._add(Turn("user", question))
        return self.answer()

    def answer(self, turn: Turn | None = None) -> AnswerView:
        """Add a placeholder for the next answer at the end."""
        for view in self._views:
            if isinstance(view, AnswerView):
                view.give_up()
        with self._root:
            view = AnswerView(turn or Turn("assistant", ""), len(self._views), self._actions, self._renderer)
        self._views.append(view)
        return view

    def drop_last_answer(self) -> None:
        """Remove the last answer before a retry."""
        if self._views and isinstance(self._views[-1], AnswerView):
            self._cut(len(self._views) - 1)

    def follow(self, answer: Answer, view: AnswerView) -> None:
        """Show `answer` in `view` as it arrives."""
        self.release()
        self._following = background_tasks.create(follow(answer, view.show), name="follow an answer")

    def _cut(self, length: int) -> None:
        if length < len(self._views):
            self.release()
        for view in self._views[length:]:
            view.root.delete()
        del self._views[length:]

    def _add(self, turn: Turn) -> None:
        if turn.role == "user":
            with self._root:
                self._views.append(QuestionView(turn, len(self._views), self._actions))
            return
        view = self.answer(turn)
        if turn.answer is not None and turn.answer.is_running:
            self.follow(turn.answer, view)
