"""The open conversation: the transcript or the welcome, and the composer below."""

from collections.abc import Callable, Coroutine
from typing import Any

from nicegui import background_tasks, ui

from ui.api.errors import ApiError
from ui.api.readiness import Phase
from ui.api.schema import Conversation
from ui.chat.answer import AnswerView
from ui.chat.attachments import Attachments
from ui.chat.composer import Composer
from ui.chat.message_actions import Actions
from ui.chat.status_line import StatusLine
from ui.chat.transcript import Transcript
from ui.chat.welcome import Welcome
from ui.i18n import t
from ui.state.conversation import OpenConversation
from ui.state.generation import Answer
from ui.state.submission import NewQuestion, Shared, begin
from ui.state.thread import Turn
from ui.widgets.elements import icon_button, tag

PREPARE_S = 0.5  # what has not been rendered by then is shown as plain text first


class Chat:
    """What is done with the open conversation; `conversation` is another object whenever one is opened."""

    def __init__(
        self,
        shared: Shared,
        chosen_model: Callable[[], str | None],
        on_created: Callable[[Conversation, bool], None],
        on_phase: Callable[[Phase], Coroutine[Any, Any, None]],
        on_branch: Callable[[], None],
        tell: Callable[[ApiError], None],
    ) -> None:
        """`on_created` learns of a conversation that a question began, and whether it is still open.

        `on_branch` is called when another branch of the conversation is read.
        """
        self._shared, self._chosen_model, self._on_created, self._tell = shared, chosen_model, on_created, tell
        self._on_branch = on_branch
        self._client = ui.context.client
        self.conversation = OpenConversation(shared.api, None)
        self._question = ""
        self._is_starting = False
        actions = Actions(self.retry, self.regenerate, self.edit, self.proceed, self.walk, self.stop)
        with tag("div", "scroll", id="scroll", tabindex="-1"), tag("div", "reading"):
            with tag("div") as self._welcome:
                self.welcome = Welcome(self._pick_prompt)
            self._transcript = Transcript(actions, self._earlier, shared.renderer)
        with tag("div", "dock"):
            icon_button("down", t("Scroll to the end"), act="to-end").classes("to-end")
            self.status = StatusLine(on_phase)
            self.composer = Composer(self.send, self.stop, Attachments(shared, chosen_model))

    def draw(self) -> None:
        """Show the conversation as far as it is known; it may be the one that is shown already."""
        shown = self._shown()
        self._question = next((turn.text for turn in reversed(shown) if turn.role == "user"), "")
        self._transcript.show(shown, self.conversation.has_earlier)
        self._welcome.set_visibility(self.conversation.id is None)
        self.composer.set_running(self._shared.generations.is_running(self.conversation.id))
        self._client.run_javascript("chatllm.focusComposer()")

    async def show_loaded(self) -> None:
        """Show a freshly loaded conversation, scrolled to its end, unless another one has been opened meanwhile."""
        opened = self.conversation
        await self._prepare()
        if opened is not self.conversation:
            return
        self._transcript.clear()
        self.draw()
        self._client.run_javascript("chatllm.toEnd()")

    async def _prepare(self) -> None:
        """Render what is about to be shown, from the end, which is seen first."""
        answers = [turn for turn in reversed(self._shown()) if turn.role == "assistant"]
        texts = [text for turn in answers for text in (turn.text, turn.reasoning) if text]
        await self._shared.renderer.prepare(texts, PREPARE_S)

    def show_error(self, error: ApiError, on_retry: Callable[[], Any]) -> None:
        """Show that the conversation could not be loaded."""
        self._welcome.set_visibility(False)
        self._transcript.show_error(error, on_retry)

    def on_answer(self, answer: Answer) -> None:
        """Show that an answer has started or ended, wherever it was requested."""
        if answer.question.conversation_id != self.conversation.id:
            return
        self.composer.set_running(self._shared.generations.is_running(self.conversation.id))
        if answer.is_running and not self._is_starting:
            self.conversation.leaf = None
            self._on_branch()
            self._transcript.show(self.conversation.turns(answer), self.conversation.has_earlier)
        elif not answer.is_running:
            background_tasks.create(self._sync(), name="read what has been stored")

    @property
    def unanswered(self) -> str:
        """The question whose answer has not started; "" if there is none."""
        answer = self._shared.generations.of(self.conversation.id)
        is_unanswered = self._is_starting or (answer is not None and answer.is_running and not answer.text)
        return self._question if is_unanswered else ""

    async def send(self, text: str) -> None:
        """Ask a new question in the open conversation, which is created if there is none yet."""
        if self._is_busy:
            return
        self.composer.clear()
        self._welcome.set_visibility(False)
        if self.conversation.id is None:
            self._transcript.clear()  # it may say that the chat shown here was deleted
        view = self._transcript.ask(text)
        self._client.run_javascript("chatllm.toEnd()")
        await self._begin(NewQuestion(text), view)

    async def retry(self) -> None:
        """Retry the last question after a failure."""
        if not self._is_busy:
            self._transcript.drop_last_answer()
            await self._begin(NewQuestion(self._question, is_retry=True), self._transcript.answer())

    async def edit(self, turn: Turn, text: str) -> None:
        """Ask an edited question on a new branch."""
        if not self._is_busy and (stored := await self._stored(turn)):
            self._transcript.show(self._before(stored), self.conversation.has_earlier)
            await self._begin(NewQuestion(text, stored.parent), self._transcript.ask(text))

    async def regenerate(self, turn: Turn) -> None:
        """Regenerate an answer on a new branch."""
        if not self._is_busy and (question := await self._question_of(turn)):
            self._transcript.show([*self._before(question), question], self.conversation.has_earlier)
            await self._begin(NewQuestion(question.text, question.parent), self._transcript.answer())

    async def proceed(self, turn: Turn) -> None:
        """Continue an answer that was cut off."""
        if not self._is_busy and (question := await self._question_of(turn)):
            text = turn.answer.text if turn.answer else turn.text
            self._transcript.drop_last_answer()
            await self._begin(NewQuestion(question.text, question.id, continues=text), self._transcript.answer())

    def walk(self, message_id: str) -> None:
        """Switch to another branch."""
        if not self._is_busy:
            self.conversation.walk(message_id)
            self._on_branch()
            self.draw()

    async def stop(self) -> None:
        """Stop the running answer of the open conversation."""
        try:
            await self._shared.generations.stop(self.conversation.id)
        except ApiError as error:
            self._tell(error)

    @property
    def _is_busy(self) -> bool:
        return self._is_starting or self._shared.generations.is_running(self.conversation.id)

    async def _begin(self, new_question: NewQuestion, view: AnswerView) -> None:
        self._question = new_question.text
        opened = self.conversation
        self._is_starting = True
        self.composer.set_running(True)

        def created(conversation: Conversation) -> None:
            self._on_created(conversation, opened is self.conversation)

        try:
            answer = await begin(self._shared, opened, new_question, self._chosen_model() or "", created)
        except ApiError as error:
            if opened is self.conversation:
                view.fail(error)
                self.composer.set_running(False)
            self._shared.readiness.doubt()
        else:
            if opened is self.conversation:
                self._on_branch()
                self._transcript.follow(answer, view)
        finally:
            self._is_starting = False

    async def _stored(self, turn: Turn) -> Turn | None:
        """Return the stored turn; None, after showing an error, if the store cannot be reached."""
        if turn.id:
            return turn
        shown = await self._synced()
        return next((other for other in reversed(shown) if other.id and _is_same(other, turn)), None)

    async def _question_of(self, answer: Turn) -> Turn | None:
        """Return the stored question of an answer."""
        shown = await self._synced()
        at = next((at for at in reversed(range(len(shown))) if _is_same(shown[at], answer)), 0)
        return shown[at - 1] if at and shown[at - 1].id else None

    async def _synced(self) -> list[Turn]:
        """Return the stored turns; none, after showing an error, if the store cannot be reached."""
        try:
            await self.conversation.sync()
        except ApiError as error:
            self._tell(error)
            return []
        return self._shown()

    def _shown(self) -> list[Turn]:
        return self.conversation.turns(self._shared.generations.of(self.conversation.id))

    def _before(self, turn: Turn) -> list[Turn]:
        shown = self._shown()
        return shown[: next((at for at, other in enumerate(shown) if other.id == turn.id), len(shown))]

    async def _earlier(self) -> None:
        opened = self.conversation
        try:
            await opened.load_earlier()
        except ApiError:
            return  # the button stays, to be tried again
        await self._prepare()
        if opened is self.conversation:
            self._transcript.clear()
            self.draw()

    async def _sync(self) -> None:
        """After an answer has ended, load the ids of the stored messages and the versions."""
        opened = self.conversation
        try:
            await opened.sync()
        except ApiError:
            return
        if opened is self.conversation and not self._is_busy:
            self._transcript.learn(self._shown())

    def _pick_prompt(self, prompt: str) -> Any:
        return self.composer.submit(prompt)


def _is_same(one: Turn, other: Turn) -> bool:
    if one.id and one.id == other.id:
        return True
    return one.role == other.role and (other.answer.text if other.answer else other.text) == one.text
