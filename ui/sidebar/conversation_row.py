"""One row of the list of conversations."""

from nicegui import ui

from ui.api.schema import Conversation
from ui.i18n import t
from ui.sidebar.conversation_menu import ConversationMenu, show_menu
from ui.widgets.elements import attribute, tag, text_element

# A plain click opens in place; with a modifier the browser opens the link itself, in a new tab.
ON_LINK = """(event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  event.preventDefault();
  chatllm.closeDrawer();
  emit();
}"""


class ConversationRow:
    """A link to the conversation, whether an answer is being written in it, and its menu."""

    def __init__(self, conversation: Conversation, title: str, actions: ConversationMenu, *, is_current: bool) -> None:
        self._pulse: ui.element | None = None
        with tag("div", "entry current" if is_current else "entry") as self.element:
            link = text_element("a", title, "entry-link").mark(f"open-{conversation.id}")
            attribute(link, href=f"/c/{conversation.id}", title=title, dir="auto")
            if is_current:
                attribute(link, aria_current="page")
            link.on("click", lambda: actions.open(conversation.id), args=[], js_handler=ON_LINK)
            show_menu(conversation, actions)

    def show_running(self, is_running: bool) -> None:
        """Show or hide the activity indicator; nothing else of the row is redrawn."""
        if is_running and self._pulse is None:
            with self.element:
                self._pulse = tag("span", "pulse", role="img", aria_label=t("Answer in progress"))
            self._pulse.move(target_index=1)
        elif not is_running and self._pulse is not None:
            self._pulse.delete()
            self._pulse = None
