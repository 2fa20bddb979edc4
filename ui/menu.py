"""The menu of one conversation in the list."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from nicegui import ui

from ui.parts import attribute, icon_button, tag, words
from ui.shapes import Conversation
from ui.texts import t


@dataclass(frozen=True, slots=True)
class ListActions:
    """What can be done with a conversation from the list."""

    open: Callable[[str | None], Any]
    delete: Callable[[Conversation], Any]
    rename: Callable[[Conversation], Any]
    pin: Callable[[Conversation], Any]
    share: Callable[[Conversation], Any]
    export: Callable[[Conversation, str], Any]


def show_menu(conversation: Conversation, actions: ListActions) -> None:
    """Show the button of the menu, which is built when it is first opened: few of all that are listed ever are."""
    title = conversation.title or t("New chat")
    options: list[tuple[str, str, Callable[[], Any]]] = [
        ("pin", t("Unpin") if conversation.is_pinned else t("Pin"), partial(actions.pin, conversation)),
        ("rename", t("Rename"), partial(actions.rename, conversation)),
        ("share", t("Share"), partial(actions.share, conversation)),
        ("markdown", t("Export as Markdown"), partial(actions.export, conversation, "md")),
        ("json", t("Export as JSON"), partial(actions.export, conversation, "json")),
        ("delete", t("Delete"), partial(actions.delete, conversation)),
    ]
    more = icon_button("dots", t("More about “{title}”", title=title)).mark(f"more-{conversation.id}")
    attribute(more, aria_haspopup="menu")
    is_built = False

    def build() -> None:
        nonlocal is_built
        if is_built:
            return  # the browser itself opens it from now on
        is_built = True
        with (
            more,
            ui.menu().props("auto-close no-focus").classes("menu") as menu,
            tag("div", "options", role="menu"),
        ):
            for name, label, act in options:
                option = words("button", label, "option danger" if name == "delete" else "option")
                attribute(option, type="button", role="menuitem").mark(f"{name}-{conversation.id}")
                option.on("click", act, args=[])
        menu.open()

    more.on("click", build, args=[])
