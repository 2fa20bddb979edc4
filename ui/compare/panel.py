"""One side of a comparison: the model, the temperature, the answer, its statistics, and its actions."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from nicegui import background_tasks, ui

from ui.api.errors import ApiError
from ui.api.readiness import Phase
from ui.chat.answer_stats import answer_stats
from ui.chat.streaming_answer import StreamingAnswer, follow
from ui.i18n import t
from ui.markdown.pool import Renderer
from ui.state.comparison import Side
from ui.state.generation import Answer
from ui.state.parameters import TEMPERATURE
from ui.widgets.elements import attribute, button, copy_button, tag, text_element
from ui.widgets.error_notice import show_error
from ui.widgets.fields import Bounds, NumberField
from ui.widgets.model_picker import Picker


class AnswerPanel:
    """The panel at index `place`, from 0."""

    def __init__(
        self,
        place: int,
        on_pick: Callable[[int, str], Any],
        on_keep: Callable[[Answer], Any],
        on_again: Callable[[int], Any],
        on_stop: Callable[[], Any],
        renderer: Renderer,
    ) -> None:
        self._place, self._on_keep, self._on_again = place, on_keep, on_again
        self._on_stop, self._renderer = on_stop, renderer
        self._following: asyncio.Task[None] | None = None
        self.model: str | None = None
        label = t("First answer") if place == 0 else t("Second answer")
        with tag("section", "side", aria_label=label):
            with tag("div", "side-head"):
                self._picker = Picker(lambda model: on_pick(place, model), label, f"side-{place}-")
                tag("div", "gap")
                bounds, marker = Bounds(*TEMPERATURE), f"temperature-{place}"
                self.temperature = NumberField(t("Temperature"), bounds, None, marker, t("auto"), "side-field")
            self._body = tag("div", "side-body answer")
        ui.context.client.on_delete(self.release)
        self.clear()

    @property
    def side(self) -> Side:
        """How this side answers."""
        return Side(self.model or "", self.temperature.value)

    def offer(self, models: Mapping[str, Phase], model: str | None) -> None:
        """Show the chosen model and the alternatives."""
        self.model = model
        self._picker.show(models, model)

    def release(self) -> None:
        """Stop following."""
        if self._following is not None:
            self._following.cancel()
            self._following = None

    def clear(self) -> None:
        """Show that nothing has been asked yet."""
        self.release()
        self._body.clear()
        self._body.classes(remove="live")
        with self._body:
            text_element("p", t("The answer will appear here."), "side-empty")

    def follow(self, answer: Answer) -> None:
        """Show the answer as it arrives."""
        self.wait()
        self._following = background_tasks.create(follow(answer, self._show), name="follow a side")

    def wait(self) -> None:
        """Show that an answer is pending."""
        self.release()
        self._body.clear()
        self._body.classes("live")
        with self._body:
            self._stream = StreamingAnswer(self._renderer, self._on_stop)

    def fail(self, error: ApiError) -> None:
        """Show a failure that occurred before an answer existed."""
        self.release()
        self._body.clear()
        self._body.classes(remove="live")
        with self._body:
            show_error(error, lambda: self._on_again(self._place))

    async def _show(self, answer: Answer) -> None:
        has_ended = not answer.is_running
        with self._body:
            await self._stream.show(answer)
            if has_ended and not self._body.is_deleted:
                self._close(answer)

    def _close(self, answer: Answer) -> None:
        self._stream.end()
        self._body.classes(remove="live")
        if answer.state == "stopped":
            text_element("div", t("You stopped this answer."), "note")
        elif answer.end.reason == "length":
            text_element("div", t("The answer reached its length limit."), "note")
        if answer.error is not None:
            show_error(answer.error, lambda: self._on_again(self._place))
        if not answer.text:
            return
        text_element("div", " · ".join(answer_stats(answer)), "figures side-figures").mark(f"figures-{self._place}")
        with tag("div", "side-actions"):
            kept = button(t("Keep this answer"), lambda: self._on_keep(answer)).mark(f"keep-{self._place}")
            attribute(kept, title=t("Continue with this answer. The other one remains available."))
            copy_button(t("Copy answer"), lambda: answer.text)
