"""One open browser page: the parts, put together, and what happens between them."""

import json

from nicegui import ui

from ui.account_menu import AccountMenu
from ui.asking import Shared, take_up
from ui.chat import Chat
from ui.conversation import OpenConversation
from ui.gate import leaving
from ui.generation import Answer
from ui.keeping import Keeping
from ui.menu import ConversationActions, Option
from ui.message import pieces
from ui.parts import attribute, tag, words
from ui.readiness import Phase
from ui.sessions import Reason, Session
from ui.shapes import Conversation
from ui.sharing import Sharing
from ui.sidebar import Sidebar
from ui.sidebar import title as conversation_title
from ui.topbar import TopBar
from ui.trouble import Trouble
from ui.tuning import tune


class ChatPage:
    """The state of one browser page: which model is chosen, and what goes on around the open conversation."""

    def __init__(self, shared: Shared, session: Session | None = None) -> None:
        """`session` is whose page it is where visitors sign in."""
        self._shared, self._session = shared, session
        self._client = ui.context.client
        self._model: str | None = None
        self._must_reload = False
        self._lay_out()
        self._client.on_delete(shared.generations.watch(self._on_answer))
        self._client.on_delete(shared.readiness.watch(self._on_readiness))
        self._client.on_delete(shared.titles.watch(self._on_title))
        if session is not None:
            self._client.on_delete(session.watch(self._on_signed_out))
        ui.on("chatllm_back", lambda event: self.open(_conversation_of(str(event.args)), visit=False))
        self._on_readiness()

    async def open(self, conversation_id: str | None, *, visit: bool = True) -> None:
        """Show a conversation, or the empty page; `visit` puts it into the browser's history."""
        self._chat.conversation = opened = OpenConversation(self._shared.api, conversation_id)
        self._must_reload = False
        with self._root:
            self._sidebar.select(conversation_id)
        self._topbar.show_more(False)
        if visit:
            self._show_address(push=True)
        if conversation_id is None:
            return self._chat.draw()
        try:
            await opened.load()
            await take_up(self._shared, opened)
        except Trouble as trouble:
            if opened is self._chat.conversation:
                self._must_reload = True
                self._chat.show_trouble(trouble, lambda: self.open(conversation_id, visit=False))
            return None
        if opened is self._chat.conversation:  # else another one was opened meanwhile
            self._model = opened.parameters.model or self._model
            self._on_readiness()
            self._topbar.show_more(True)
            self._show_address(push=False)
            await self._chat.show_loaded()
        return None

    async def tune(self) -> None:
        """Let the reader set how this conversation is answered."""
        opened = self._chat.conversation
        with self._root:
            parameters = await tune(opened.parameters)
        if parameters is not None:
            try:
                await opened.answer_with(parameters)
            except Trouble as trouble:
                self._keeping.tell(trouble)

    async def share(self, conversation: Conversation) -> None:
        """Let the reader share a conversation; of the open one the branch that is read."""
        opened = self._chat.conversation
        until = opened.leaf if conversation.id == opened.id else None
        with self._root:
            sharing = Sharing(
                self._shared.api, conversation, until, self._session is not None and self._session.is_secure
            )
        await sharing.load()

    @property
    def _path(self) -> str:
        return f"/c/{self._chat.conversation.id}" if self._chat.conversation.id else "/"

    def _show_address(self, push: bool) -> None:
        about = self._about
        title = conversation_title(about) if about else "ChatLLM"
        self._client.run_javascript(f"chatllm.visit({json.dumps(self._path)}, {json.dumps(title)}, {json.dumps(push)})")

    @property
    def _about(self) -> Conversation | None:
        """What is known of the open conversation, which is listed or was found by the search."""
        return self._sidebar.get(self._chat.conversation.id) or self._chat.conversation.about

    def _options(self) -> list[Option]:
        return self._actions.options(about, "open-") if (about := self._about) else []

    def _on_changed(self, conversation: Conversation) -> None:
        self._sidebar.replace(conversation)
        if conversation.id == self._chat.conversation.id:
            self._chat.conversation.about = conversation
            self._show_address(push=False)

    def _chosen_model(self) -> str | None:
        models = self._shared.readiness.models
        return self._model if self._model in models else self._shared.readiness.default()

    def _pick_model(self, model: str) -> None:
        self._model = model
        self._on_readiness()

    def _on_created(self, conversation: Conversation, is_open: bool) -> None:
        if is_open:
            self._sidebar.current = conversation.id
        with self._root:
            self._sidebar.put(conversation)
        if is_open:
            self._topbar.show_more(True)
            self._show_address(push=True)

    def _on_readiness(self) -> None:
        model = self._chosen_model()
        with self._root:
            self._topbar.show(self._shared.readiness.phases(), model)
            self._chat.status.show(self._shared.readiness.of(model))
            self._chat.composer.recount()

    def _on_answer(self, answer: Answer) -> None:
        """An answer has begun or ended, in this page, in another one, or in one that is closed."""
        self._chat.on_answer(answer)
        if answer.trouble is not None:
            self._shared.readiness.doubt()
        with self._root:
            self._sidebar.on_answer(answer)

    def _on_title(self, conversation_id: str, title: str) -> None:
        """A conversation has been given its title."""
        opened = self._chat.conversation
        with self._root:
            self._sidebar.retitle(conversation_id, title)
            if conversation_id == opened.id:
                opened.about = opened.about and opened.about.model_copy(update={"title": title})
                self._show_address(push=False)

    def _on_signed_out(self, reason: Reason) -> None:
        """The session has ended: leave the page, with what has been asked and not answered yet as a draft."""
        self._client.run_javascript(leaving(self._path, reason, pieces(self._chat.unanswered).readable))

    async def _on_phase(self, phase: Phase) -> None:
        is_held = self._chat.composer.set_phase(phase)
        if phase != "starting":
            with self._root:
                await self._sidebar.refresh(self._shared.deletions.pending)
            if self._must_reload:
                await self.open(self._chat.conversation.id, visit=False)
        if is_held:
            await self._chat.composer.send_held()

    def _lay_out(self) -> None:
        shared = self._shared
        with tag("div", "app") as self._root:
            self._keeping = keeping = Keeping(shared, self._root, self.open, self._on_changed)
            self._actions = ConversationActions(
                self.open, keeping.delete, keeping.rename, keeping.pin, self.share, keeping.export
            )
            self._sidebar = keeping.sidebar = Sidebar(shared.api, shared.generations, self._actions, keeping.pick_file)
            with self._sidebar.foot:
                AccountMenu(shared.api, self._session)
            attribute(tag("div", "scrim"), data_act="drawer-close")
            with tag("main", "chat"):
                words("h1", "ChatLLM", "unseen")
                self._topbar = TopBar(self._pick_model, lambda: self.open(None), self.tune, self._options)
                self._chat = Chat(shared, self._chosen_model, self._on_created, self._on_phase, keeping.tell)


def _conversation_of(path: str) -> str | None:
    return path.removeprefix("/c/") if path.startswith("/c/") else None
