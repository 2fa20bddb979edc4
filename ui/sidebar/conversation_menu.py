"""What can be done with a conversation, offered in a menu."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ui.api.schema import Conversation
from ui.i18n import t
from ui.widgets.elements import icon_button
from ui.widgets.menu import Menu, Option


@dataclass(frozen=True, slots=True)
class ConversationMenu:
    """What can be done with a conversation, from the list and where it is open."""

    open: Callable[[str | None], Any]
    delete: Callable[[Conversation], Any]
    rename: Callable[[Conversation], Any]
    pin: Callable[[Conversation], Any]
    share: Callable[[Conversation], Any]
    export: Callable[[Conversation, str], Any]

    def options(self, conversation: Conversation, prefix: str = "") -> list[Option]:
        """Return the options for a conversation; `prefix` distinguishes the markers of several menus."""
        offered: list[tuple[str, str, Callable[[], Any]]] = [
            ("pin", t("Unpin") if conversation.is_pinned else t("Pin"), partial(self.pin, conversation)),
            ("rename", t("Rename"), partial(self.rename, conversation)),
            ("share", t("Share"), partial(self.share, conversation)),
            ("markdown", t("Export as Markdown"), partial(self.export, conversation, "md")),
            ("json", t("Export as JSON"), partial(self.export, conversation, "json")),
            ("delete", t("Delete"), partial(self.delete, conversation)),
        ]
        return [
            Option(f"{prefix}{name}-{conversation.id}", label, act, is_danger=name == "delete")
            for name, label, act in offered
        ]


def show_menu(conversation: Conversation, actions: ConversationMenu) -> None:
    """Show the menu of a conversation in the list."""
    label = t("Options for “{title}”", title=conversation.title or t("New chat"))
    button = icon_button("dots", label).mark(f"more-{conversation.id}")
    Menu(button, label, lambda: actions.options(conversation))
