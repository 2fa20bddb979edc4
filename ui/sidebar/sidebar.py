"""The list of conversations: grouped by day, newest first, loaded page by page."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from nicegui import background_tasks, ui

from ui.api.client import Api
from ui.api.errors import ApiError, explain
from ui.api.schema import Conversation, Conversations
from ui.i18n import t
from ui.sidebar.conversation_menu import ConversationMenu
from ui.sidebar.conversation_row import ON_LINK, ConversationRow
from ui.sidebar.search import Search
from ui.state.conversation_list import ConversationList
from ui.state.generation import Answer, Generations
from ui.state.question_title import question_title
from ui.widgets.elements import attribute, button, icon_button, tag, text_element

PAGE = 20
SOON_S = 2.0
_Seen = tuple[str, str | None, tuple[tuple[str, str], ...], bool]  # all that a row shows for good, or hands on
GROUPS = ("Today", "Yesterday", "Previous 7 days", "Older")


class Sidebar:
    """Shows the conversations; the page implements opening and deleting."""

    def __init__(
        self,
        api: Api,
        generations: Generations,
        actions: ConversationMenu,
        on_import: Callable[[], Any],
    ) -> None:
        self._api, self._generations, self._actions = api, generations, actions
        self._listing = ConversationList()
        self._error: ApiError | None = None
        self.current: str | None = None
        self._drawn: dict[_Seen, ConversationRow] = {}
        self._due: asyncio.Task[None] | None = None
        self._answered: dict[str, tuple[Answer, float]] = {}
        ui.context.client.on_delete(self._forget_due)
        with tag("aside", "sidebar", aria_label=t("Conversations")):
            with tag("div", "sidebar-head"):
                with tag("div", "brand"):
                    tag("span", "mark", aria_hidden="true")
                    text_element("span", "ChatLLM", "brand-name")
                icon_button("close", t("Close the sidebar"), act="drawer-close").classes("phone-only")
            new = attribute(text_element("a", t("New chat"), "new-chat").mark("new-chat"), href="/")
            new.on("click", lambda: actions.open(None), args=[], js_handler=ON_LINK)
            Search(api, actions.open, self._give_way)
            self._list = tag("nav", "conversations", aria_label=t("Your conversations"))
            with tag("div", "sidebar-foot") as self.foot:
                button(t("Import conversation"), on_import, "import").mark("import")

    async def refresh(self, without: Sequence[str] = ()) -> None:
        """Load the newest page again; those that are about to be deleted are left out."""
        for conversation_id in without:
            self._listing.remove(conversation_id)
        self._listing.ask_newest()
        if page := await self._load(None):
            self._listing.take_newest(page)
        self.render()

    async def more(self) -> None:
        """Load the page that follows the last conversation shown."""
        if page := await self._load(self._listing.last_id):
            self._listing.take_next(page)
        self.render()

    def select(self, conversation_id: str | None) -> None:
        """Mark the conversation that is open."""
        self.current = conversation_id
        self.render()

    def put(self, conversation: Conversation) -> None:
        """Show a conversation on top: it is new, or has just been written in."""
        self._listing.put(conversation)
        self.render()

    def remove(self, conversation_id: str) -> None:
        """Remove a conversation from the list."""
        self._listing.remove(conversation_id)
        self.render()

    def restore(self, conversation: Conversation) -> None:
        """Show a conversation again that was removed."""
        self._listing.restore(conversation)
        self.render()

    def replace(self, conversation: Conversation) -> None:
        """Show what has changed of a conversation."""
        self._listing.replace(conversation)
        self.render()

    def retitle(self, conversation_id: str, title: str) -> None:
        """Show the title that a conversation has been given."""
        self._take_answered()
        known = self._listing.get(conversation_id)
        if known is None:
            return
        self._listing.replace(known.model_copy(update={"title": title}))
        if conversation_id == self.current:
            self._draw()
        else:
            self._render_soon()

    def on_answer(self, answer: Answer) -> None:
        """An answer has begun or ended: its conversation moves to the top, with or without a sign of life."""
        conversation_id = answer.question.conversation_id
        if answer not in self._generations.all_of(conversation_id):
            self._answered.pop(conversation_id, None)
            return self.remove(conversation_id)  # its conversation has been deleted
        self._answered[conversation_id] = (answer, time.time())
        if conversation_id != self.current:
            return self._render_soon()
        self._list_answered({conversation_id: self._answered.pop(conversation_id)})
        return self._draw()

    def _take_answered(self) -> None:
        answered, self._answered = self._answered, {}
        self._list_answered(answered)

    def _list_answered(self, answered: dict[str, tuple[Answer, float]]) -> None:
        """Move what has been answered to the top, without making the list longer."""
        listed = len(self._listing.conversations)
        for conversation_id, (answer, at) in answered.items():
            known = self._listing.get(conversation_id)
            known = known or Conversation(id=conversation_id, title=question_title(answer.question.text))
            self._listing.put(known.model_copy(update={"updated_at": at}))
        if answered:  # or every page would come to list what all others ask
            self._listing.keep(max(PAGE, listed), self.current)

    def get(self, conversation_id: str | None) -> Conversation | None:
        """Return a conversation that is listed."""
        return self._listing.get(conversation_id)

    def _give_way(self, is_searching: bool) -> None:
        self._list.set_visibility(not is_searching)

    async def _load(self, after: str | None) -> Conversations | None:
        try:
            page = await self._api.conversations(after=after, limit=PAGE)
        except ApiError as error:
            self._error = error
            return None
        self._error = None
        return page

    def _render_soon(self) -> None:
        """Draw what other pages have done, at most once in `SOON_S`: each of many pages is told of all of them.

        Not all of them at the same time, or a click would have to wait until the last has drawn.
        """
        if self._due is None:
            self._due = background_tasks.create(self._render_later(), name="draw the list of conversations")

    async def _render_later(self) -> None:
        await asyncio.sleep(random.uniform(SOON_S, 2 * SOON_S))  # noqa: S311 - to spread the work
        with self._list:
            self.render()

    def _forget_due(self) -> None:
        if self._due is not None and self._due is not asyncio.current_task():
            self._due.cancel()
        self._due = None

    def render(self) -> None:
        """Draw the list with all that is known: first what is pinned, then by days."""
        self._forget_due()
        self._take_answered()
        self._draw()

    def _draw(self) -> None:
        listed = self._listing.conversations
        now = datetime.now().astimezone()
        drawn, self._drawn = self._drawn, {}
        rows = {row.element for row in drawn.values()}
        for element in [one for one in self._list if one not in rows]:
            element.delete()
        with self._list:
            group = ""
            for conversation in sorted(listed, key=lambda each: not each.is_pinned):
                heading = t("Pinned") if conversation.is_pinned else t(day_group(conversation.updated_at, now))
                if group != (group := heading):
                    text_element("h2", group, "group")
                self._place(conversation, drawn)
            for gone in drawn.values():
                gone.element.delete()
            if self._listing.has_more:
                button(t("Show more"), self.more, "quiet more")
            if self._error is not None and self._error.code != "unreachable":
                text_element("p", explain(self._error).title, "sidebar-note")
            elif not listed:
                text_element("p", t("Your conversations will appear here."), "sidebar-note")

    def _place(self, conversation: Conversation, drawn: dict[_Seen, ConversationRow]) -> None:
        """Put the conversation's row last; one that looks the same is moved there, for it costs little."""
        is_current = conversation.id == self.current
        seen = (conversation.id, conversation.title, tuple(sorted(conversation.metadata.items())), is_current)
        if row := drawn.pop(seen, None):
            row.element.move(self._list)
        else:
            row = ConversationRow(conversation, title(conversation), self._actions, is_current=is_current)
        row.show_running(self._generations.is_running(conversation.id))
        self._drawn[seen] = row


def title(conversation: Conversation) -> str:
    """Return the conversation's title, or a placeholder."""
    return conversation.title or t("New chat")


def day_group(updated_at: float, now: datetime) -> str:
    """Return the heading of a conversation's group, by the calendar day of `now`."""
    day, today = datetime.fromtimestamp(updated_at, now.tzinfo).date(), now.date()
    if day >= today:
        return GROUPS[0]
    if day == today - timedelta(days=1):
        return GROUPS[1]
    return GROUPS[2] if day >= today - timedelta(days=7) else GROUPS[3]
