"""Menus that behave like native ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from ui.widgets.elements import attribute, text_element


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
    made = attribute(text_element("button", option.label, classes), type="button", tabindex="-1", dir="auto")
    if option.is_chosen is None:
        attribute(made, role="menuitem")
    else:
        attribute(made, role="menuitemradio", aria_checked=str(option.is_chosen).lower())
    if has_focus:
        attribute(made, data_autofocus="true")
    made.on("click", option.act, args=[]).mark(option.name)
