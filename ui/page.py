"""One open browser page: the parts, put together, and what happens between them."""

import json
from typing import Any

from nicegui import background_tasks, ui

from ui.account_menu import AccountMenu
from ui.actions import Actions
from ui.answer import AnswerView
from ui.asking import Asked, Shared, begin, take_up
from ui.attachments import Attachments
from ui.composer import Composer
from ui.conversation import OpenConversation
from ui.gate import sign_in_address
from ui.generation import Answer
from ui.keeping import Keeping
from ui.menu import ListActions
from ui.parts import attribute, icon_button, tag, words
from ui.readiness import Phase
from ui.sessions import Reason, Session
from ui.shapes import Conversation
from ui.sharing import Sharing
from ui.sidebar import Sidebar
from ui.status import StatusLine
from ui.texts import t
from ui.thread import Turn
from ui.topbar import TopBar
from ui.transcript import Transcript
from ui.trouble import Trouble
from ui.tuning import tune
from ui.welcome import show_welcome


class ChatPage:
    """The state of one browser page: which conversation is open, and which model is chosen."""

    def __init__(self, shared: Shared, session: Session | None = None) -> None:
        """`session` is whose page it is where visitors sign in."""
        self._shared, self._session = shared, session
        self._client = ui.context.client
        self._open = OpenConversation(shared.api, None)
        self._model: str | None = None
        self._question = ""
        self._visit = 0  # grows with every conversation opened, so that a late answer of the API is not shown
        self._is_starting = False
        self._must_reload = False
        self._lay_out()
        self._client.on_delete(shared.generations.watch(self._on_answer))
        self._client.on_delete(shared.readiness.watch(self._on_readiness))
        if session is not None:
            self._client.on_delete(session.watch(self._on_signed_out))
        ui.on("chatllm_back", lambda event: self.open(_conversation_of(str(event.args)), visit=False))
        self._on_readiness()

    async def open(self, conversation_id: str | None, *, visit: bool = True) -> None:
        """Show a conversation, or the empty page; `visit` puts it into the browser's history."""
        self._visit += 1
        expected = self._visit
        self._open = opened = OpenConversation(self._shared.api, conversation_id)
        self._must_reload = False
        with self._root:
            self._sidebar.select(conversation_id)
        if visit:
            self._show_address(push=True)
        if conversation_id is None:
            return self._draw()
        try:
            await opened.load()
            await take_up(self._shared, opened)
        except Trouble as trouble:
            if expected == self._visit:
                self._show_load_failure(conversation_id, trouble)
            return None
        if expected == self._visit:
            self._transcript.clear()
            self._model = opened.parameters.model or self._model
            self._on_readiness()
            self._draw()
            self._client.run_javascript("chatllm.toEnd()")
        return None

    async def send(self, text: str) -> None:
        """Ask a new question in the open conversation, which is created if there is none yet."""
        if self._is_busy:
            return
        self._composer.clear()
        self._welcome.set_visibility(False)
        view = self._transcript.ask(text)
        self._client.run_javascript("chatllm.toEnd()")
        await self._begin(Asked(text), view)

    async def retry(self) -> None:
        """Ask the last question again, in place of the try that failed."""
        if not self._is_busy:
            self._transcript.drop_last_answer()
            await self._begin(Asked(self._question, is_retry=True), self._transcript.answer())

    async def edit(self, turn: Turn, text: str) -> None:
        """Ask another question in place of that one: a branch beside it."""
        if not self._is_busy and (stored := await self._stored(turn)):
            self._transcript.show(self._before(stored), self._open.has_earlier)
            await self._begin(Asked(text, stored.parent), self._transcript.ask(text))

    async def regenerate(self, turn: Turn) -> None:
        """Ask the question of that answer again: a branch beside it."""
        if not self._is_busy and (question := await self._asked(turn)):
            self._transcript.show([*self._before(question), question], self._open.has_earlier)
            await self._begin(Asked(question.text, question.parent), self._transcript.answer())

    async def proceed(self, turn: Turn) -> None:
        """Go on with an answer that was cut."""
        if not self._is_busy and (question := await self._asked(turn)):
            text = turn.answer.text if turn.answer else turn.text
            self._transcript.drop_last_answer()
            await self._begin(Asked(question.text, question.id, continues=text), self._transcript.answer())

    def walk(self, message_id: str) -> None:
        """Read another branch."""
        if not self._is_busy:
            self._open.walk(message_id)
            self._draw()

    async def stop(self) -> None:
        """Stop the running answer of the open conversation."""
        try:
            await self._shared.generations.stop(self._open.id)
        except Trouble as trouble:
            self._keeping.tell(trouble)

    async def tune(self) -> None:
        """Let the reader set how this conversation is answered."""
        opened = self._open
        with self._root:
            parameters = await tune(opened.parameters)
        if parameters is not None:
            try:
                await opened.answer_with(parameters)
            except Trouble as trouble:
                self._keeping.tell(trouble)

    async def share(self, conversation: Conversation) -> None:
        """Let the reader share a conversation; of the open one the branch that is read."""
        until = self._open.leaf if conversation.id == self._open.id else None
        with self._root:
            sharing = Sharing(
                self._shared.api, conversation, until, self._session is not None and self._session.is_secure
            )
        await sharing.load()

    @property
    def _is_busy(self) -> bool:
        return self._is_starting or self._shared.generations.is_running(self._open.id)

    async def _begin(self, asked: Asked, view: AnswerView) -> None:
        self._question = asked.text
        expected, opened = self._visit, self._open
        self._is_starting = True
        self._composer.set_running(True)

        def created(conversation: Conversation) -> None:
            if expected == self._visit:
                self._sidebar.current = conversation.id
            with self._root:
                self._sidebar.put(conversation)
            if expected == self._visit:
                self._show_address(push=True)

        try:
            answer = await begin(self._shared, opened, asked, self._chosen_model() or "", created)
        except Trouble as trouble:
            if expected == self._visit:
                view.fail(trouble)
                self._composer.set_running(False)
            self._shared.readiness.doubt()
        else:
            if expected == self._visit:
                self._transcript.follow(answer, view)
        finally:
            self._is_starting = False

    async def _stored(self, turn: Turn) -> Turn | None:
        """Return the turn as it is stored; None, with a word about it, if the store cannot be reached."""
        if turn.id:
            return turn
        try:
            await self._open.sync()
        except Trouble as trouble:
            self._keeping.tell(trouble)
            return None
        shown = self._open.turns(self._shared.generations.of(self._open.id))
        return next((other for other in reversed(shown) if other.id and _is_same(other, turn)), None)

    async def _asked(self, answer: Turn) -> Turn | None:
        """Return the stored question of an answer."""
        try:
            await self._open.sync()
        except Trouble as trouble:
            self._keeping.tell(trouble)
            return None
        shown = self._open.turns(self._shared.generations.of(self._open.id))
        at = next((at for at in reversed(range(len(shown))) if _is_same(shown[at], answer)), 0)
        return shown[at - 1] if at and shown[at - 1].id else None

    def _before(self, turn: Turn) -> list[Turn]:
        shown = self._open.turns(self._shared.generations.of(self._open.id))
        return shown[: next((at for at, other in enumerate(shown) if other.id == turn.id), len(shown))]

    async def _earlier(self) -> None:
        expected, opened = self._visit, self._open
        try:
            await opened.load_earlier()
        except Trouble:
            return  # the button stays, to be tried again
        if expected == self._visit:
            self._transcript.clear()
            self._draw()

    async def _sync(self) -> None:
        """An answer has ended: learn the ids of what was stored, and the versions that there are now."""
        expected, opened = self._visit, self._open
        try:
            await opened.sync()
        except Trouble:
            return
        if expected == self._visit and not self._is_busy:
            self._transcript.learn(opened.turns(self._shared.generations.of(opened.id)))

    def _draw(self) -> None:
        shown = self._open.turns(self._shared.generations.of(self._open.id))
        self._question = next((turn.text for turn in reversed(shown) if turn.role == "user"), "")
        self._transcript.show(shown, self._open.has_earlier)
        self._welcome.set_visibility(self._open.id is None)
        self._composer.set_running(self._shared.generations.is_running(self._open.id))
        self._client.run_javascript("chatllm.focusComposer()")

    def _show_load_failure(self, conversation_id: str, trouble: Trouble) -> None:
        self._welcome.set_visibility(False)
        self._must_reload = True
        self._transcript.show_trouble(trouble, lambda: self.open(conversation_id, visit=False))

    def _show_address(self, push: bool) -> None:
        path = f"/c/{self._open.id}" if self._open.id else "/"
        title = self._sidebar.title(self._open.id) or "ChatLLM"
        self._client.run_javascript(f"chatllm.visit({json.dumps(path)}, {json.dumps(title)}, {json.dumps(push)})")

    def _chosen_model(self) -> str | None:
        models = self._shared.readiness.models
        return self._model if self._model in models else next(iter(models), None)

    def _pick_model(self, model: str) -> None:
        self._model = model
        self._on_readiness()

    def _pick_prompt(self, prompt: str) -> Any:
        return self._composer.submit(prompt)

    def _on_readiness(self) -> None:
        model = self._chosen_model()
        with self._root:
            self._topbar.show(self._shared.readiness.models, model)
            self._status.show(self._shared.readiness.of(model))

    def _on_answer(self, answer: Answer) -> None:
        """An answer has begun or ended, in this page, in another one, or in one that is closed."""
        if answer.question.conversation_id == self._open.id:
            self._composer.set_running(self._shared.generations.is_running(self._open.id))
            if answer.is_running and not self._is_starting:
                self._open.leaf = None
                self._transcript.show(self._open.turns(answer), self._open.has_earlier)
            elif not answer.is_running:
                background_tasks.create(self._sync(), name="read what has been stored")
        if answer.trouble is not None:
            self._shared.readiness.doubt()
        with self._root:
            self._sidebar.on_answer(answer)

    def _on_signed_out(self, reason: Reason) -> None:
        """The session has ended: leave the page, with what has been asked and not answered yet as a draft."""
        path = f"/c/{self._open.id}" if self._open.id else "/"
        answer = self._shared.generations.of(self._open.id)
        is_unanswered = self._is_starting or (answer is not None and answer.is_running and not answer.text)
        unsent = self._question if is_unanswered and reason != "out" else ""
        leaving = [json.dumps(sign_in_address(path, reason)), json.dumps(reason != "out"), json.dumps(unsent)]
        self._client.run_javascript(f"chatllm.leave({', '.join(leaving)})")

    async def _on_phase(self, phase: Phase) -> None:
        held = self._composer.set_ready(phase == "ready")
        if phase != "starting":
            with self._root:
                await self._sidebar.refresh(self._shared.deletions.pending)
            if self._must_reload:
                await self.open(self._open.id, visit=False)
        if held:
            await self.send(held)

    def _lay_out(self) -> None:
        shared = self._shared
        actions = Actions(self.retry, self.regenerate, self.edit, self.proceed, self.walk)
        with tag("div", "app") as self._root:
            self._keeping = keeping = Keeping(shared, self._root, self.open)
            listed = ListActions(self.open, keeping.delete, keeping.rename, keeping.pin, self.share, keeping.export)
            self._sidebar = keeping.sidebar = Sidebar(shared.api, shared.generations, listed, keeping.pick_file)
            with self._sidebar.foot:
                AccountMenu(shared.api, self._session)
            attribute(tag("div", "scrim"), data_act="drawer-close")
            with tag("main", "chat"):
                words("h1", "ChatLLM", "unseen")
                self._topbar = TopBar(self._pick_model, lambda: self.open(None), self.tune)
                with tag("div", "scroll", id="scroll"), tag("div", "reading"):
                    with tag("div") as self._welcome:
                        show_welcome(self._pick_prompt)
                    self._transcript = Transcript(actions, self._earlier)
                with tag("div", "dock"):
                    icon_button("down", t("Go to the end"), act="to-end").classes("to-end")
                    self._status = StatusLine(self._on_phase)
                    files = Attachments(shared, self._chosen_model)
                    self._composer = Composer(self.send, self.stop, files)


def _is_same(one: Turn, other: Turn) -> bool:
    if one.id and one.id == other.id:
        return True
    return one.role == other.role and (other.answer.text if other.answer else other.text) == one.text


def _conversation_of(path: str) -> str | None:
    return path.removeprefix("/c/") if path.startswith("/c/") else None
