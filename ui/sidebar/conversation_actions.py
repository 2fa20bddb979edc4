"""Actions on conversations: rename, pin, delete and undo, export, and import."""

from collections.abc import Callable
from typing import Any

from nicegui import events, ui

from ui.api.errors import ApiError, explain
from ui.api.schema import Conversation
from ui.i18n import t
from ui.markdown.direction import isolated
from ui.sidebar.sidebar import Sidebar, title
from ui.state.deletions import UNDO_S
from ui.state.question_title import shorten
from ui.state.submission import Shared
from ui.state.transfer import MAX_IMPORT_BYTES, all_messages, as_json, as_markdown, bring_in, file_name, read_export
from ui.widgets.dialogs import ask_title
from ui.widgets.toast import Toast

NOTICE_S = 6.0


class ConversationActions:
    """Handlers for the menus of conversations; failures are shown in the toast."""

    def __init__(self, shared: Shared, root: ui.element, open_: Callable[[str | None], Any]) -> None:
        """All pages, including this one, are notified through `shared.changes`."""
        self._shared, self._root, self._open = shared, root, open_
        self.sidebar: Sidebar
        self.toast = Toast()
        self._upload = ui.upload(on_upload=self._import, auto_upload=True, max_file_size=MAX_IMPORT_BYTES)
        self._upload.props('accept=".json"').classes("hidden").mark("import-file")

    def pick_file(self) -> None:
        """Open the file chooser for an import."""
        self._upload.run_method("pickFiles")

    async def rename(self, conversation: Conversation) -> None:
        """Ask for a new title."""
        with self._root:
            named = await ask_title(title(conversation))
        if named is None:
            return
        try:
            await self._shared.api.rename(conversation.id, named)
        except ApiError as error:
            self.tell(error)
            return
        self._shared.changes.notify("changed", conversation.model_copy(update={"title": named}))

    async def pin(self, conversation: Conversation) -> None:
        """Pin or unpin the conversation; its other metadata may be newer than the list."""

        def change(known: dict[str, str]) -> dict[str, str]:
            others = {name: value for name, value in known.items() if name != "pinned"}
            return others if conversation.is_pinned else others | {"pinned": "true"}

        try:
            metadata = await self._shared.api.keep(conversation.id, change)
        except ApiError as error:
            self.tell(error)
            return
        self._shared.changes.notify("changed", conversation.model_copy(update={"metadata": metadata}))

    async def delete(self, conversation: Conversation) -> None:
        """Delete the conversation; for a few seconds this can be undone."""
        self._shared.deletions.schedule(conversation.id, lambda error: self._restore(conversation, error))
        was_open = conversation.id == self.sidebar.current
        with self._root:
            self.sidebar.remove(conversation.id)
            notice = t("“{title}” was deleted.", title=isolated(shorten(title(conversation))))
            self.toast.show(notice, UNDO_S, t("Undo"), lambda: self._undo(conversation, was_open))
        if was_open:
            await self._open(None)
        self._shared.changes.notify("deleted", conversation)
        await self._shared.generations.forget(conversation.id)

    async def export(self, conversation: Conversation, ending: str) -> None:
        """Download the conversation as a file."""
        try:
            stored = await all_messages(self._shared.api, conversation.id)
        except ApiError as error:
            self.tell(error)
            return
        with self._root:
            name = title(conversation)
            text = as_json(conversation, stored) if ending == "json" else as_markdown(name, stored)
            ui.download.content(text.encode(), file_name(name, ending))

    def tell(self, error: ApiError) -> None:
        """Show a failure."""
        with self._root:
            self.toast.show(explain(error).title, NOTICE_S)

    async def _import(self, event: events.UploadEventArguments) -> None:
        try:
            if event.file.size() > MAX_IMPORT_BYTES:  # browsers reject it already
                raise ApiError("not_an_export")
            created = await bring_in(self._shared.api, read_export(await event.file.read()))
        except ApiError as error:
            self.tell(error)
            return
        finally:
            self._upload.reset()
        with self._root:
            self.sidebar.put(created)
        self._shared.changes.notify("listed", created)
        await self._open(created.id)

    async def _undo(self, conversation: Conversation, was_open: bool) -> None:
        if self._shared.deletions.undo(conversation.id):
            self._restore(conversation)
            if was_open:
                await self._open(conversation.id)

    def _restore(self, conversation: Conversation, error: ApiError | None = None) -> None:
        self._shared.changes.notify("listed", conversation)
        if error is not None and not self._root.is_deleted:
            self.tell(error)
