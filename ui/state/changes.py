"""Changes of conversations, broadcast to all pages of the same API key."""

from typing import Literal

from ui.api.schema import Conversation
from ui.state.watchers import Watchers

Change = Literal["changed", "deleted", "listed"]
"""It has another title or is pinned or no more; it is about to be deleted; it is new, or was not deleted after all."""

Changes = Watchers[[Change, Conversation]]
"""Called with what has been done, and the conversation as it is by now."""
