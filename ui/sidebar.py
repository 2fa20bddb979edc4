"""The list of conversations: grouped by day, newest first, loaded page by page."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from ui.client import Api, Conversation, Conversations
from ui.generation import Answer, Generations
from ui.listing import Listing
from ui.parts import attribute, button, icon_button, tag, words
from ui.trouble import Trouble, explain

PAGE = 20
# A plain click opens in place; with a modifier the browser opens the link itself, in a new tab.
_ON_LINK = """(event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  event.preventDefault();
  chatllm.closeDrawer();
  emit();
}"""


class Sidebar:
    """Shows the conversations; opening and deleting one is the page's business."""

    def __init__(
        self,
        api: Api,
        generations: Generations,
        on_open: Callable[[str | None], Any],
        on_delete: Callable[[Conversation], Any],
    ) -> None:
        self._api, self._generations = api, generations
        self._on_open, self._on_delete = on_open, on_delete
        self._listing = Listing()
        self._trouble: Trouble | None = None
        self.current: str | None = None
        with tag("aside", "sidebar", aria_label="Conversations"):
            with tag("div", "sidebar-head"):
                with tag("div", "brand"):
                    tag("span", "mark", aria_hidden="true")
                    words("span", "ChatLLM", "brand-name")
                icon_button("close", "Close the list", act="drawer-close").classes("phone-only")
            new = attribute(words("a", "New chat", "new-chat").mark("new-chat"), href="/")
            new.on("click", lambda: on_open(None), args=[], js_handler=_ON_LINK)
            self._list = tag("nav", "conversations", aria_label="Your conversations")

    async def refresh(self) -> None:
        """Load the newest page again."""
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
        """Show a conversation no more."""
        self._listing.remove(conversation_id)
        self.render()

    def show_trouble(self, trouble: Trouble) -> None:
        """Show under the list what could not be done."""
        self._trouble = trouble
        self.render()

    def on_answer(self, answer: Answer) -> None:
        """An answer has begun or ended: its conversation moves to the top, with or without a sign of life."""
        conversation_id = answer.question.conversation_id
        if self._generations.of(conversation_id) is not answer:
            return self.remove(conversation_id)  # its conversation has been deleted
        known = self._listing.get(conversation_id)
        if known is None:
            known = Conversation(id=conversation_id, title=shorten(answer.question.text))
        return self.put(known.model_copy(update={"updated_at": time.time()}))

    def title(self, conversation_id: str | None) -> str:
        """Return the title of a conversation that is shown."""
        known = self._listing.get(conversation_id)
        return title(known) if known else ""

    async def _load(self, after: str | None) -> Conversations | None:
        try:
            page = await self._api.conversations(after=after, limit=PAGE)
        except Trouble as trouble:
            self._trouble = trouble
            return None
        self._trouble = None
        return page

    def render(self) -> None:
        """Draw the list."""
        self._list.clear()
        with self._list:
            group = ""
            for conversation in self._listing.conversations:
                if group != (group := day_group(conversation.updated_at, datetime.now().astimezone())):
                    words("h2", group, "group")
                self._row(conversation)
            if self._listing.has_more:
                button("Show more", self.more, "quiet more")
            if self._trouble is not None and self._trouble.code != "unreachable":
                words("p", explain(self._trouble).title, "sidebar-note")
            elif not self._listing.conversations:
                words("p", "Your conversations will be listed here.", "sidebar-note")

    def _row(self, conversation: Conversation) -> None:
        is_current = conversation.id == self.current
        with tag("div", "entry current" if is_current else "entry"):
            link = words("a", title(conversation), "entry-link").mark(f"open-{conversation.id}")
            attribute(link, href=f"/c/{conversation.id}", title=title(conversation))
            if is_current:
                attribute(link, aria_current="page")
            link.on("click", lambda: self._on_open(conversation.id), args=[], js_handler=_ON_LINK)
            if self._generations.is_running(conversation.id):
                tag("span", "pulse", role="img", aria_label="An answer is being written")
            delete = icon_button("trash", f"Delete “{title(conversation)}”", lambda: self._on_delete(conversation))
            delete.mark(f"delete-{conversation.id}")


def title(conversation: Conversation) -> str:
    """Return the conversation's title, or what stands for it."""
    return conversation.title or "New chat"


def shorten(text: str, length: int = 60) -> str:
    """Return the first line of `text`, cut at a word where it is too long for a title."""
    line = " ".join(text.strip().split())
    if len(line) <= length:
        return line
    return line[:length].rsplit(" ", 1)[0].rstrip(",;:.") + "…"


def day_group(updated_at: float, now: datetime) -> str:
    """Return the heading under which a conversation stands, by the calendar of `now`."""
    day, today = datetime.fromtimestamp(updated_at, now.tzinfo).date(), now.date()
    if day >= today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    return "Previous 7 days" if day >= today - timedelta(days=7) else "Older"
