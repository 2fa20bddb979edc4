"""One open browser page: the parts, put together, and what happens between them."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from ui.client import Api, Conversation, Message
from ui.composer import Composer
from ui.generation import Answer, Generations
from ui.message import AnswerView
from ui.parts import attribute, icon_button, tag
from ui.readiness import Phase, Readiness
from ui.sidebar import Sidebar, confirm_delete, shorten
from ui.status import StatusLine
from ui.stream import Asks, Question
from ui.thread import branch_point, turns
from ui.topbar import TopBar
from ui.transcript import Transcript
from ui.trouble import Trouble
from ui.welcome import show_welcome


@dataclass(frozen=True, slots=True)
class Shared:
    """What all pages of the process have in common; `asks` waits until the SDK is loaded."""

    api: Api
    generations: Generations
    readiness: Readiness
    asks: Callable[[], Awaitable[Asks]]


class ChatPage:
    """The state of one browser page: which conversation is open, and which model is chosen."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = ui.context.client
        self._conversation_id: str | None = None
        self._stored: list[Message] = []  # oldest first
        self._has_earlier = False
        self._model: str | None = None
        self._question = ""
        self._visit = 0  # grows with every conversation opened, so that a late answer of the API is not shown
        self._is_starting = False
        self._must_reload = False
        self._lay_out()
        self._client.on_delete(shared.generations.watch(self._on_answer))
        self._client.on_delete(shared.readiness.watch(self._on_readiness))
        ui.on("chatllm_back", lambda event: self.open(_conversation_of(str(event.args)), visit=False))
        self._on_readiness()

    async def open(self, conversation_id: str | None, *, visit: bool = True) -> None:
        """Show a conversation, or the empty page; `visit` puts it into the browser's history."""
        self._visit += 1
        expected = self._visit
        self._conversation_id, self._stored, self._has_earlier = conversation_id, [], False
        self._must_reload = False
        self._sidebar.select(conversation_id)
        if visit:
            self._show_address(push=True)
        if conversation_id is None:
            return self._draw()
        try:
            page = await self._shared.api.messages(conversation_id)
        except Trouble as trouble:
            if expected == self._visit:
                self._show_load_failure(conversation_id, trouble)
            return None
        if expected == self._visit:
            self._stored, self._has_earlier = page.data[::-1], page.has_more
            self._draw()
            self._client.run_javascript("chatllm.toEnd()")
        return None

    async def send(self, text: str) -> None:
        """Ask a new question in the open conversation, which is created if there is none yet."""
        if self._is_starting or self._shared.generations.is_running(self._conversation_id):
            return
        self._composer.clear()
        self._welcome.set_visibility(False)
        view = self._transcript.ask(text)
        self._client.run_javascript("chatllm.toEnd()")
        await self._begin(text, view)

    async def retry(self) -> None:
        """Ask the last question again, in place of the try that failed."""
        if self._is_starting or self._shared.generations.is_running(self._conversation_id):
            return
        self._transcript.drop_last_answer()
        await self._begin(self._question, self._transcript.answer(), is_retry=True)

    def stop(self) -> None:
        """Stop the running answer of the open conversation."""
        self._shared.generations.stop(self._conversation_id)

    async def delete(self, conversation: Conversation) -> None:
        """Delete a conversation, once the reader has confirmed it."""
        with self._root:
            if not await confirm_delete(conversation):
                return
        try:
            await self._shared.api.delete(conversation.id)
        except Trouble as trouble:
            if trouble.status != 404:
                self._sidebar.show_trouble(trouble)
                return
        self._shared.generations.forget(conversation.id)
        self._sidebar.remove(conversation.id)
        if conversation.id == self._conversation_id:
            await self.open(None)

    async def _begin(self, text: str, view: AnswerView, *, is_retry: bool = False) -> None:
        self._question = text
        expected = self._visit
        self._is_starting = True
        self._composer.set_running(True)
        try:
            answer = await self._ask(text, expected, is_retry)
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

    async def _ask(self, text: str, expected: int, is_retry: bool) -> Answer:
        conversation_id = self._conversation_id
        parent = await self._branch_point(conversation_id, text) if is_retry and conversation_id else None
        if conversation_id is None:
            conversation_id = await self._new_conversation(text, expected)
        asks = await self._shared.asks()
        question = Question(conversation_id, text, self._chosen_model() or "", parent)
        return self._shared.generations.start(asks, question)

    async def _new_conversation(self, text: str, expected: int) -> str:
        created = await self._shared.api.create_conversation()
        named = created.model_copy(update={"title": shorten(text)})
        if expected == self._visit:
            self._conversation_id = self._sidebar.current = created.id
        self._sidebar.put(named)
        if expected == self._visit:
            self._show_address(push=True)
        try:
            await self._shared.api.rename(created.id, named.title or "")
        except Trouble:
            return created.id  # a title is not worth a failed question
        return created.id

    async def _branch_point(self, conversation_id: str, text: str) -> str | None:
        try:
            return branch_point((await self._shared.api.messages(conversation_id, limit=2)).data, text)
        except Trouble:
            return None

    async def _earlier(self) -> None:
        if self._conversation_id is None or not self._stored:
            return
        expected = self._visit
        try:
            page = await self._shared.api.messages(self._conversation_id, after=self._stored[0].id)
        except Trouble:
            return  # the button stays, to be tried again
        if expected == self._visit:
            self._stored, self._has_earlier = page.data[::-1] + self._stored, page.has_more
            self._draw()

    def _draw(self) -> None:
        answer = self._shared.generations.of(self._conversation_id)
        shown = turns(self._stored, answer)
        self._question = next((turn.text for turn in reversed(shown) if turn.role == "user"), "")
        self._transcript.show(shown, self._has_earlier)
        self._welcome.set_visibility(self._conversation_id is None)
        self._composer.set_running(self._shared.generations.is_running(self._conversation_id))
        self._client.run_javascript("chatllm.focusComposer()")

    def _show_load_failure(self, conversation_id: str, trouble: Trouble) -> None:
        self._welcome.set_visibility(False)
        self._must_reload = True
        self._transcript.show_trouble(trouble, lambda: self.open(conversation_id, visit=False))

    def _show_address(self, push: bool) -> None:
        path = f"/c/{self._conversation_id}" if self._conversation_id else "/"
        title = self._sidebar.title(self._conversation_id) or "ChatLLM"
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
        self._topbar.show(self._shared.readiness.models, model)
        self._status.show(self._shared.readiness.of(model))

    def _on_answer(self, answer: Answer) -> None:
        """An answer has begun or ended, in this page, in another one, or in one that is closed."""
        if answer.question.conversation_id == self._conversation_id:
            self._composer.set_running(answer.is_running)
            if answer.is_running and not self._is_starting:
                self._transcript.follow(answer, self._transcript.ask(answer.question.text))
        if answer.trouble is not None:
            self._shared.readiness.doubt()
        self._sidebar.on_answer(answer)

    async def _on_phase(self, phase: Phase) -> None:
        held = self._composer.set_ready(phase == "ready")
        if phase != "starting":
            await self._sidebar.refresh()
            if self._must_reload:
                await self.open(self._conversation_id, visit=False)
        if held:
            await self.send(held)

    def _lay_out(self) -> None:
        shared = self._shared
        with tag("div", "app") as self._root:
            self._sidebar = Sidebar(shared.api, shared.generations, self.open, self.delete)
            attribute(tag("div", "scrim"), data_act="drawer-close")
            with tag("main", "chat"):
                self._topbar = TopBar(self._pick_model, lambda: self.open(None))
                with tag("div", "scroll", id="scroll"), tag("div", "reading"):
                    with tag("div") as self._welcome:
                        show_welcome(self._pick_prompt)
                    self._transcript = Transcript(self.retry, self._earlier)
                with tag("div", "dock"):
                    icon_button("down", "Go to the end", act="to-end").classes("to-end")
                    self._status = StatusLine(self._on_phase)
                    self._composer = Composer(self.send, self.stop)


def _conversation_of(path: str) -> str | None:
    return path.removeprefix("/c/") if path.startswith("/c/") else None
