"""The model's answer, complete or streaming, with its details and actions."""

from nicegui import ui

from ui.api.errors import ApiError
from ui.chat.answer_stats import answer_stats
from ui.chat.message_actions import Actions
from ui.chat.streaming_answer import StreamingAnswer
from ui.chat.version_pager import Pager
from ui.i18n import t
from ui.markdown.pool import Renderer
from ui.state.generation import Answer
from ui.state.thread import Turn
from ui.widgets.elements import copy_button, icon_button, tag, text_element
from ui.widgets.error_notice import show_error
from ui.widgets.markdown import show_markdown


class AnswerView:
    """One answer. `show` may be called repeatedly; `number` is its position in the transcript."""

    def __init__(self, turn: Turn, number: int, actions: Actions, renderer: Renderer) -> None:
        self._turn, self._number, self._actions, self._renderer = turn, number, actions, renderer
        self._pager: Pager | None = None
        self._retry: ui.element | None = None
        self._proceed: ui.element | None = None
        self.root = tag("article", "turn answer", aria_label=t("Answer"))
        if turn.answer is not None and not turn.answer.is_running:
            self._show_ended(turn.answer)
        elif turn.answer is None and turn.id:
            self._show_stored(turn)
        else:
            self._begin()

    def takes(self, turn: Turn) -> bool:
        """Reuse this view for `turn` if it looks the same; return whether it does."""
        if turn.role != "assistant" or not self._is_same(turn):
            return False
        self._turn = turn
        if self._pager is not None:
            self._pager.show(turn.versions, turn.version)
        return True

    def _is_same(self, turn: Turn) -> bool:
        if self._turn.answer is not None and turn.answer is self._turn.answer:
            return True
        return bool(turn.id) and turn.id == self._turn.id and turn.text == self._turn.text

    async def show(self, answer: Answer) -> None:
        """Update the view to `answer`; when it has ended, add its details."""
        if self._is_closed:
            return
        if self._turn.answer is not answer:
            self._turn = Turn("assistant", answer.text, answer=answer)
        has_ended = not answer.is_running
        with self.root:  # so that its words are in the reader's language
            await self._stream.show(answer)
        if has_ended and not self.root.is_deleted:
            self._end()
            self._close(answer)

    def fail(self, error: ApiError) -> None:
        """Show a failure that occurred before an answer existed."""
        self._end()
        with self.root:
            self._retry = show_error(error, self._actions.retry)

    def give_up(self) -> None:
        """Remove the actions that only the newest answer offers."""
        for offered in (self._retry, self._proceed):
            if offered is not None:
                offered.delete()
        self._retry = self._proceed = None

    def _show_stored(self, turn: Turn) -> None:
        self._show_whole(turn.text, turn.reasoning)
        with self.root:
            if turn.is_cut:
                text_element("div", t("The answer reached its length limit."), "note")
            elif turn.is_incomplete:
                text_element("div", t("This answer was stopped before it was complete."), "note")
            self._show_tools(None, can_proceed=turn.is_incomplete)

    def _show_ended(self, answer: Answer) -> None:
        self._show_whole(answer.text, answer.reasoning)
        self._close(answer)

    def _show_whole(self, text: str, reasoning: str) -> None:
        self._is_closed = True
        with self.root:
            if reasoning:
                with tag("details", "reasoning").mark("reasoning"):
                    text_element("summary", t("Thoughts"))
                    show_markdown(reasoning, self._renderer)
            if text:
                show_markdown(text, self._renderer)

    def _begin(self) -> None:
        self._is_closed = False
        self.root.classes("live")
        with self.root:
            self._stream = StreamingAnswer(self._renderer, self._actions.stop)

    def _close(self, answer: Answer) -> None:
        with self.root:
            if answer.text and answer.model != answer.question.model:
                requested, model = answer.question.model, answer.model
                text_element(
                    "div", t("{model} answered in place of {requested}.", model=model, requested=requested), "note"
                )
            if answer.state == "stopped":
                text_element("div", t("You stopped this answer."), "note")
            is_cut = answer.state == "done" and answer.end.reason == "length"
            if is_cut:
                text_element("div", t("The answer reached its length limit."), "note")
            if answer.error is not None:
                self._retry = show_error(answer.error, self._actions.retry)
            if answer.text:
                self._show_tools(answer, can_proceed=is_cut or answer.state in ("stopped", "failed"))

    def _end(self) -> None:
        self._is_closed = True
        self._stream.end()
        self.root.classes(remove="live")

    def _show_tools(self, answer: Answer | None, *, can_proceed: bool) -> None:
        number, text = self._number, answer.text if answer else self._turn.text
        with tag("div", "tools"):
            self._pager = Pager(number, self._actions.walk)
            self._pager.show(self._turn.versions, self._turn.version)
            copy_button(t("Copy answer"), lambda: text)
            again = icon_button("again", t("Regenerate"), lambda: self._actions.regenerate(self._turn))
            again.mark(f"again-{number}")
            if can_proceed:
                self._proceed = icon_button("proceed", t("Continue generating"), self._go_on).mark("proceed")
            if answer is not None:
                self._show_figures(answer)

    def _go_on(self) -> object:
        return self._actions.proceed(self._turn)

    def _show_figures(self, answer: Answer) -> None:
        about = icon_button("info", t("About this answer"), lambda: details.set_visibility(not details.visible))
        about.mark(f"about about-{self._number}")
        details = text_element("div", " · ".join(answer_stats(answer)), "figures").mark("figures")
        details.set_visibility(False)
