"""The order of the listed conversations, as pages are loaded and conversations change meanwhile."""

from ui.api.schema import Conversation, Conversations

MAX_LISTED = 500


class ConversationList:
    """Conversations, the most recently active first.

    A page that was requested before a local change does not undo it: what was
    moved to the top stays there, and what was removed does not come back.
    """

    def __init__(self) -> None:
        self._listed: dict[str, Conversation] = {}
        self._put: dict[str, Conversation] = {}  # since the newest page was last asked for
        self._removed: dict[str, bool] = {}  # and whether they were listed
        self._has_more = False

    @property
    def conversations(self) -> list[Conversation]:
        """All that are listed, in their order."""
        return list(self._listed.values())

    @property
    def has_more(self) -> bool:
        """Whether older ones can be loaded."""
        return self._has_more and len(self._listed) < MAX_LISTED

    @property
    def last_id(self) -> str | None:
        """The conversation after which the next page begins."""
        return next(reversed(self._listed), None)

    def get(self, conversation_id: str | None) -> Conversation | None:
        """Return a listed conversation."""
        return self._listed.get(conversation_id or "")

    def put(self, conversation: Conversation) -> None:
        """List a conversation on top."""
        self._listed.pop(conversation.id, None)
        self._listed = {conversation.id: conversation} | self._listed
        self._put[conversation.id] = conversation

    def keep(self, count: int, current: str | None) -> None:
        """Drop all but `count` conversations, the pinned ones, and the current one; the others can be loaded again."""
        for conversation in reversed(self.conversations):
            if len(self._listed) <= count:
                return
            if not conversation.is_pinned and conversation.id != current:
                del self._listed[conversation.id]
                self._has_more = True

    def remove(self, conversation_id: str) -> None:
        """Remove a conversation."""
        self._removed.setdefault(conversation_id, conversation_id in self._listed)
        self._listed.pop(conversation_id, None)
        self._put.pop(conversation_id, None)

    def restore(self, conversation: Conversation) -> None:
        """Restore a removed conversation to its place; one of a page that is not loaded comes with that page."""
        was_listed = self._removed.pop(conversation.id, True)
        if not was_listed and self._has_more:
            return
        listed = sorted([*self.conversations, conversation], key=lambda other: -other.updated_at)
        self._listed = {other.id: other for other in listed}

    def replace(self, conversation: Conversation) -> None:
        """Replace a listed conversation in place."""
        if conversation.id in self._listed:
            self._listed[conversation.id] = conversation

    def ask_newest(self) -> None:
        """The newest page is about to be asked for."""
        self._put.clear()

    def take_newest(self, page: Conversations) -> None:
        """Replace the top of the list by `page`; what follows it stays where the two still join."""
        fresh = self._fresh(page)
        joins = page.has_more and bool(fresh.keys() & self._listed.keys())
        oldest = min((conversation.updated_at for conversation in fresh.values()), default=0.0)
        below = {
            key: kept for key, kept in self._listed.items() if joins and key not in fresh and kept.updated_at <= oldest
        }
        on_top = {key: kept for key, kept in self._put.items() if key not in fresh}
        if not joins:
            self._has_more = page.has_more
        self._listed = on_top | fresh | below

    def take_next(self, page: Conversations) -> None:
        """Append the page that follows."""
        self._has_more = page.has_more
        self._listed |= {key: new for key, new in self._fresh(page).items() if key not in self._listed}

    def _fresh(self, page: Conversations) -> dict[str, Conversation]:
        return {conversation.id: conversation for conversation in page.data if conversation.id not in self._removed}
