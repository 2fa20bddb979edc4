"""One open browser page: its parts and how they interact."""

import json
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit

from nicegui import background_tasks, ui

from ui.api.errors import ApiError
from ui.api.readiness import Phase
from ui.api.schema import Conversation
from ui.auth.session_middleware import leaving
from ui.auth.sessions import Reason, Session
from ui.chat.conversation_view import Chat
from ui.chat.parameters_dialog import tune
from ui.chat.topbar import TopBar
from ui.files.message import pieces
from ui.sharing.dialog import Sharing
from ui.sidebar.account_menu import AccountMenu
from ui.sidebar.conversation_actions import ConversationActions
from ui.sidebar.conversation_menu import ConversationMenu
from ui.sidebar.sidebar import Sidebar
from ui.sidebar.sidebar import title as conversation_title
from ui.state.changes import Change
from ui.state.conversation import OpenConversation
from ui.state.generation import Answer
from ui.state.submission import Shared, take_up
from ui.widgets.elements import attribute, tag, text_element
from ui.widgets.menu import Option


class ChatPage:
    """The state of one browser page: which model is chosen, and what goes on around the open conversation."""

    def __init__(self, shared: Shared, session: Session | None = None) -> None:
        """`session` is the visitor's where sign-in is on."""
        self._shared, self._session = shared, session
        self._client = ui.context.client
        self._model: str | None = None
        self._deleted: str | None = None  # the conversation that was open when another page deleted it
        self._must_reload = False
        self._lay_out()
        self._client.on_delete(shared.generations.watch(self._on_answer))
        self._client.on_delete(shared.readiness.watch(self._on_readiness))
        self._client.on_delete(shared.titles.watch(self._on_title))
        self._client.on_delete(shared.changes.add(self._on_change))
        if session is not None:
            self._client.on_delete(session.watch(self._on_signed_out))
        ui.on("chatllm_back", lambda event: self._go_back(str(event.args)))
        self._on_readiness()

    async def open(self, conversation_id: str | None, *, visit: bool = True, branch: str = "", model: str = "") -> None:
        """Show a conversation, or the empty page; `visit` puts it into the browser's history.

        `branch` and `model` are the reader's earlier choices in this tab.
        """
        self._chat.conversation = opened = OpenConversation(self._shared.api, conversation_id)
        self._must_reload, self._deleted = False, None
        with self._root:
            self._sidebar.select(conversation_id)
        self._topbar.show_more(False)
        if visit:
            self._show_address(push=True)
        else:
            self._show_title()
        if conversation_id is None:
            if model:
                self._pick_model(model)
            return self._chat.draw()
        if conversation_id in self._shared.deletions.pending:
            return self._show_deleted(conversation_id)
        try:
            await opened.load()
            await take_up(self._shared, opened)
            if branch and not self._shared.generations.is_running(conversation_id):
                await opened.return_to(branch)
        except ApiError as error:
            if opened is self._chat.conversation:
                self._must_reload = True
                self._chat.show_error(error, lambda: self.open(conversation_id, visit=False, branch=branch))
            return None
        if opened is self._chat.conversation:  # else another one was opened meanwhile
            self._model = opened.parameters.model or self._model
            self._on_readiness()
            self._topbar.show_more(True)
            self._show_address(push=False)
            await self._chat.show_loaded()
        return None

    async def tune(self) -> None:
        """Open the dialog for the conversation's parameters."""
        opened = self._chat.conversation
        with self._root:
            parameters = await tune(opened.parameters)
        if parameters is not None:
            try:
                await opened.answer_with(parameters)
            except ApiError as error:
                self._conversation_actions.tell(error)

    async def share(self, conversation: Conversation) -> None:
        """Open the sharing dialog; for the open conversation, it shares the branch that is shown."""
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

    @property
    def title(self) -> str:
        """The title of the tab."""
        about = self._about
        return conversation_title(about) if about else "ChatLLM"

    def _show_title(self) -> None:
        self._client.run_javascript(f"document.title = {json.dumps(self.title)}")

    def _show_address(self, push: bool) -> None:
        """Update the address bar, including the branch or model chosen in this tab."""
        opened, default = self._chat.conversation, self._shared.readiness.default()
        chosen = {"branch": opened.branch} if opened.id else {"model": self._model if self._model != default else None}
        query = urlencode({name: value for name, value in chosen.items() if value})
        shown = self._path + (f"?{query}" if query else ""), self.title, push
        self._client.run_javascript(f"chatllm.visit({', '.join(map(json.dumps, shown))})")

    @property
    def _about(self) -> Conversation | None:
        """The open conversation as listed or found by the search."""
        return self._sidebar.get(self._chat.conversation.id) or self._chat.conversation.about

    def _options(self) -> list[Option]:
        return self._menu.options(about, "open-") if (about := self._about) else []

    def _on_change(self, change: Change, conversation: Conversation) -> None:
        """React to a change of a conversation, made in this page or another one."""
        with self._root:
            match change:
                case "changed":
                    self._on_changed(conversation)
                case "listed":
                    self._sidebar.restore(conversation)
                    if self._deleted == conversation.id and self._chat.conversation.id is None:
                        self._reopen(conversation.id)
                case "deleted":
                    self._sidebar.remove(conversation.id)
                    if self._chat.conversation.id == conversation.id:
                        self._show_deleted(conversation.id)

    def _on_changed(self, conversation: Conversation) -> None:
        self._sidebar.replace(conversation)
        if conversation.id == self._chat.conversation.id:
            self._chat.conversation.about = conversation
            self._show_address(push=False)

    def _show_deleted(self, conversation_id: str) -> None:
        """Show that the open conversation was deleted; undoing brings it back.

        The address stays, so that a reload shows the same.
        """
        self._chat.conversation = OpenConversation(self._shared.api, None)
        self._deleted = conversation_id
        with self._root:
            self._sidebar.select(None)
        self._topbar.show_more(False)
        self._show_title()
        self._chat.draw()
        self._chat.show_error(ApiError("deleted"), lambda: None)

    def _reopen(self, conversation_id: str) -> None:
        background_tasks.create(self.open(conversation_id, visit=False), name="open a chat that was not deleted")

    async def _go_back(self, address: str) -> None:
        """Show the conversation of an address in the browser's history."""
        parts = urlsplit(address)
        query = dict(parse_qsl(parts.query))
        id_ = parts.path.removeprefix("/c/") if parts.path.startswith("/c/") else None
        await self.open(id_, visit=False, branch=query.get("branch", ""), model=query.get("model", ""))

    def _chosen_model(self) -> str | None:
        models = self._shared.readiness.models
        return self._model if self._model in models else self._shared.readiness.default()

    def _pick_model(self, model: str) -> None:
        self._model = model
        self._on_readiness()

    async def _choose_model(self, model: str) -> None:
        """Answer with another model from the next question on, and after a reload."""
        self._pick_model(model)
        opened = self._chat.conversation
        if opened.id is None:
            return self._show_address(push=False)
        try:
            await opened.answer_with(replace(opened.parameters, model=model))
        except ApiError as error:
            self._conversation_actions.tell(error)

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
            self._chat.welcome.offer(model)
            self._chat.composer.recount()

    def _on_answer(self, answer: Answer) -> None:
        """React to the start or end of an answer, in this page or another one."""
        self._chat.on_answer(answer)
        is_waking = answer.is_running and self._shared.readiness.of(answer.question.model).phase == "asleep"
        if answer.error is not None or is_waking:
            self._shared.readiness.doubt()
        with self._root:
            self._sidebar.on_answer(answer)

    def _on_title(self, conversation_id: str, title: str) -> None:
        """Show the generated title of a conversation."""
        opened = self._chat.conversation
        with self._root:
            self._sidebar.retitle(conversation_id, title)
            if conversation_id == opened.id:
                opened.about = opened.about and opened.about.model_copy(update={"title": title})
                self._show_address(push=False)

    def _on_signed_out(self, reason: Reason) -> None:
        """Leave the page after the session has ended; an unanswered question stays as a draft."""
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
            self._conversation_actions = handlers = ConversationActions(shared, self._root, self.open)
            self._menu = ConversationMenu(
                self.open, handlers.delete, handlers.rename, handlers.pin, self.share, handlers.export
            )
            self._sidebar = handlers.sidebar = Sidebar(shared.api, shared.generations, self._menu, handlers.pick_file)
            with self._sidebar.foot:
                AccountMenu(shared.api, self._session)
            attribute(tag("div", "scrim"), data_act="drawer-close")
            with tag("main", "chat"):
                text_element("h1", "ChatLLM", "unseen")
                self._topbar = TopBar(self._choose_model, lambda: self.open(None), self.tune, self._options)
                self._chat = Chat(
                    shared,
                    self._chosen_model,
                    self._on_created,
                    self._on_phase,
                    lambda: self._show_address(push=False),
                    handlers.tell,
                )
