"""The page on which two models answer one prompt side by side."""

import math
from collections.abc import Mapping

from nicegui import ui

from ui.api.errors import ApiError, explain
from ui.api.readiness import Phase
from ui.auth.session_middleware import leaving
from ui.auth.sessions import Reason, Session
from ui.chat.attachments import Attachments
from ui.chat.composer import Composer
from ui.chat.question import show_message
from ui.chat.status_line import StatusLine
from ui.compare.panel import AnswerPanel
from ui.files.message import pieces
from ui.i18n import t
from ui.state import comparison
from ui.state.generation import Answer
from ui.state.submission import Shared
from ui.widgets.elements import attribute, icon_button, tag, text_element
from ui.widgets.fields import are_right
from ui.widgets.shortcuts import show_shortcuts
from ui.widgets.toast import Toast

NOTICE_S = 6.0
APART = (0.0, 1.0)  # the temperatures at which a model is compared with itself


class ComparePage:
    """The state of one browser page: the two sides, and their answers to the last prompt."""

    def __init__(self, shared: Shared, session: Session | None = None) -> None:
        """`session` is the visitor's where sign-in is on."""
        self._shared = shared
        self._client = ui.context.client
        self._answers: list[Answer] = []
        self._question = ""
        self._is_starting = False
        self._lay_out()
        self._client.on_delete(shared.generations.watch(self._on_answer))
        self._client.on_delete(shared.readiness.watch(self._on_readiness))
        if session is not None:
            self._client.on_delete(session.watch(self._on_signed_out))
        self._on_readiness()

    async def open(self, conversation_id: str | None) -> None:
        """Open a stored comparison, with running answers; redirect to the chat if there is none."""
        self._composer.focus()
        if conversation_id is None:
            return
        try:
            answers = await comparison.recall(self._shared, conversation_id)
        except ApiError as error:
            self._tell(error)
            return
        if not answers:
            self._go_to_chat(conversation_id)
            return
        for panel, answer in zip(self._panels, answers, strict=False):
            panel.offer(self._shared.readiness.phases(), answer.question.model)
            panel.temperature.set(answer.question.parameters.temperature)
        self._show(answers)

    async def send(self, text: str) -> None:
        """Ask both sides in a new conversation, unless a temperature is invalid."""
        if self._is_busy or not are_right([panel.temperature for panel in self._panels]):
            return
        self._composer.clear()
        self._is_starting = True
        self._composer.set_running(True)
        self._ask(text)
        for panel in self._panels:
            panel.wait()
        try:
            answers = await comparison.begin(self._shared, text, [panel.side for panel in self._panels])
        except ApiError as error:
            self._answers = []
            for panel in self._panels:
                panel.fail(error)
            self._shared.readiness.doubt()
        else:
            self._show(answers)
        finally:
            self._is_starting = False
            self._composer.set_running(self._is_busy)
        await self._remember()

    async def stop(self) -> None:
        """Stop both answers."""
        try:
            await self._shared.generations.stop(self._id)
        except ApiError as error:
            self._tell(error)

    async def again(self, place: int) -> None:
        """Retry one side, or both if neither was asked."""
        if not self._answers:
            await self.send(self._question)
            return
        try:
            answer = await comparison.again(self._shared, self._answers[place], self._panels[place].side)
        except ApiError as error:
            self._panels[place].fail(error)
        else:
            self._answers[place] = answer
            self._panels[place].follow(answer)
            await self._remember()

    async def keep(self, answer: Answer) -> None:
        """Continue with that answer as a chat."""
        try:
            await comparison.keep(self._shared, answer)
        except ApiError as error:
            self._tell(error)
        else:
            self._go_to_chat(answer.question.conversation_id)

    @property
    def _id(self) -> str | None:
        return self._answers[0].question.conversation_id if self._answers else None

    @property
    def _is_busy(self) -> bool:
        return self._is_starting or self._shared.generations.is_running(self._id)

    def _show(self, answers: list[Answer]) -> None:
        self._answers = answers
        self._ask(answers[0].question.text)
        for panel, answer in zip(self._panels, answers, strict=False):
            panel.follow(answer)
        self._composer.set_running(self._is_busy)

    def _ask(self, text: str) -> None:
        self._question = text
        self._lead.set_visibility(False)
        self._question_box.clear()
        with self._question_box:
            show_message(text)

    async def _remember(self) -> None:
        """Give the comparison a permanent address."""
        if self._answers:
            await comparison.remember(self._shared, self._answers)
            self._client.run_javascript(f'history.replaceState(null, "", "/compare/{self._id}")')

    def _go_to_chat(self, conversation_id: str) -> None:
        with self._root:
            ui.navigate.to(f"/c/{conversation_id}")

    def _tell(self, error: ApiError) -> None:
        with self._root:
            self._toast.show(explain(error).title, NOTICE_S)

    def _on_answer(self, answer: Answer) -> None:
        """React to the start or end of an answer."""
        if answer.question.conversation_id == self._id:
            self._composer.set_running(self._is_busy)
        if answer.error is not None:
            self._shared.readiness.doubt()

    def _on_signed_out(self, reason: Reason) -> None:
        """Leave the page after the session has ended; an unsent prompt stays as a draft."""
        path = f"/compare/{self._id}" if self._id else "/compare"
        unsent = pieces(self._question).readable if self._is_starting else ""
        self._client.run_javascript(leaving(path, reason, unsent))

    def _on_readiness(self) -> None:
        phases = self._shared.readiness.phases()
        models = list(phases)
        with self._root:
            for place, panel in enumerate(self._panels):
                panel.offer(phases, panel.model if panel.model in phases else _default(phases, place))
            if len(models) == 1 and not self._alone.visible:
                for panel, temperature in zip(self._panels, APART, strict=True):
                    panel.temperature.set(temperature)
            self._alone.set_visibility(len(models) == 1)
            standing = [self._shared.readiness.of(panel.model) for panel in self._panels]
            standing.sort(key=lambda status: (status.can_answer, status.phase == "ready"))
            self._status.show(standing[0])
            self._composer.recount()

    def _smallest_model(self) -> str | None:
        """Return the model with the smaller context limit, which bounds the comparison."""
        models = [panel.model for panel in self._panels]
        known = [self._shared.readiness.model(model) for model in models]
        sizes = [(model.max_model_len if model else None) or math.inf for model in known]
        return models[sizes.index(min(sizes))]

    def _pick(self, place: int, model: str) -> None:
        self._panels[place].model = model
        self._on_readiness()

    async def _on_phase(self, phase: Phase) -> None:
        if self._composer.set_phase(phase):
            await self._composer.send_held()

    def _lay_out(self) -> None:
        ui.page_title(t("Compare"))
        with tag("div", "app compare") as self._root:
            self._toast = Toast()
            with tag("main", "chat"):
                with tag("header", "topbar"):
                    back = tag("a", "icon-button icon-back", aria_label=t("Back to the chat")).mark("back")
                    attribute(back, href="/", title=t("Back to the chat"))
                    text_element("h1", t("Compare"), "model")
                    tag("div", "gap")
                    icon_button("keys", t("Keyboard shortcuts"), show_shortcuts).classes("desk-only")
                    icon_button("theme", t("Switch between light and dark"), act="theme")
                with tag("div", "scroll", id="scroll", tabindex="-1"), tag("div", "reading"):
                    self._lead = text_element(
                        "p", t("One prompt, two answers. Continue with the one you prefer."), "lead"
                    )
                    self._alone = text_element(
                        "p", t("Only one model is available. It is compared with itself at two temperatures."), "alone"
                    )
                    self._alone.set_visibility(False)
                    self._question_box = tag("div", "turn question question-body")
                    with tag("div", "sides"):
                        self._panels = [
                            AnswerPanel(place, self._pick, self.keep, self.again, self.stop, self._shared.renderer)
                            for place in range(2)
                        ]
                with tag("div", "dock"):
                    self._status = StatusLine(self._on_phase)
                    files = Attachments(self._shared, self._smallest_model)
                    self._composer = Composer(self.send, self.stop, files)


def _default(phases: Mapping[str, Phase], place: int) -> str | None:
    models = [model for model, phase in phases.items() if phase != "failed"] or list(phases)
    return models[min(place, len(models) - 1)] if models else None
