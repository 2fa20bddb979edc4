"""Menus that work as native ones do, and what can be done with a conversation from its menu."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nicegui import ui

from ui.parts import attribute, icon_button, words
from ui.shapes import Conversation
from ui.texts import t


@dataclass(frozen=True, slots=True)
class Option:
    """One line of a menu; `name` marks it, `is_chosen` says whether it is the chosen one where one of several is."""

    name: str
    label: str
    act: Callable[[], Any]
    is_chosen: bool | None = None
    is_danger: bool = False


class Menu:
    """Opens below `button`. Its options are asked for when it opens: few of all menus of a page ever do.

    menus.js moves the focus: arrow keys, Home, End and the first letters of an option; Enter, Space and Escape are
    the browser's and Quasar's.
    """

    def __init__(self, button: ui.element, label: str, options: Callable[[], Sequence[Option]]) -> None:
        self._button, self._label, self._options = attribute(button, aria_haspopup="menu"), label, options
        self._menu: ui.menu | None = None
        attribute(button, aria_expanded="false").on("click", self._toggle, args=[])

    def _toggle(self) -> None:
        if self._menu is None:
            with self._button:
                self._menu = ui.menu().props("auto-close no-parent-event").classes("menu")
            attribute(self._menu, aria_label=self._label)
            self._menu.on_value_change(lambda event: attribute(self._button, aria_expanded=str(event.value).lower()))
        elif self._menu.value:
            self._menu.close()
            return
        self._menu.clear()
        options = self._options()
        with self._menu:
            chosen = next((option for option in options if option.is_chosen), next(iter(options), None))
            for option in options:
                _show(option, has_focus=option is chosen)
        self._menu.open()


def _show(option: Option, *, has_focus: bool) -> None:
    classes = "option danger" if option.is_danger else "option current" if option.is_chosen else "option"
    made = attribute(words("button", option.label, classes), type="button", tabindex="-1", dir="auto")
    if option.is_chosen is None:
        attribute(made, role="menuitem")
    else:
        attribute(made, role="menuitemradio", aria_checked=str(option.is_chosen).lower())
    if has_focus:
        attribute(made, data_autofocus="true")
    made.on("click", option.act, args=[]).mark(option.name)


@dataclass(frozen=True, slots=True)
class ConversationActions:
    """What can be done with a conversation, from the list and where it is open."""

    open: Callable[[str | None], Any]
    delete: Callable[[Conversation], Any]
    rename: Callable[[Conversation], Any]
    pin: Callable[[Conversation], Any]
    share: Callable[[Conversation], Any]
    export: Callable[[Conversation, str], Any]

    def options(self, conversation: Conversation, prefix: str = "") -> list[Option]:
        """Return the menu of a conversation; `prefix` tells the marks of several menus apart."""
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


def show_menu(conversation: Conversation, actions: ConversationActions) -> None:
    """Show the menu of a conversation in the list."""
    label = t("More about “{title}”", title=conversation.title or t("New chat"))
    button = icon_button("dots", label).mark(f"more-{conversation.id}")
    Menu(button, label, lambda: actions.options(conversation))
