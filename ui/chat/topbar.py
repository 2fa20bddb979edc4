"""The bar above the transcript: the model picker, the conversation's menu, and the page's buttons."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ui.api.readiness import Phase
from ui.i18n import t
from ui.widgets.elements import attribute, icon_button, tag
from ui.widgets.menu import Menu, Option
from ui.widgets.model_picker import Picker
from ui.widgets.shortcuts import show_shortcuts


class TopBar:
    """`options` are those of the open conversation, which has a menu once it exists."""

    def __init__(
        self,
        on_pick: Callable[[str], Any],
        on_new: Callable[[], Any],
        on_tune: Callable[[], Any],
        options: Callable[[], Sequence[Option]],
    ) -> None:
        with tag("header", "topbar"):
            icon_button("menu", t("Open the sidebar"), act="drawer-open").classes("phone-only")
            self._picker = Picker(on_pick, t("Model"))
            tag("div", "gap")
            compare = tag("a", "icon-button icon-compare", aria_label=t("Compare two models")).mark("compare")
            attribute(compare, href="/compare", title=t("Compare two models"))
            icon_button("tune", t("Chat settings"), on_tune).mark("tune")
            keys = icon_button("keys", t("Keyboard shortcuts"), show_shortcuts).mark("keys")
            keys.classes("desk-only")
            icon_button("theme", t("Switch between light and dark"), act="theme").mark("theme")
            icon_button("new", t("New chat"), on_new).classes("phone-only")
            self._more = icon_button("dots", t("Chat options")).mark("more-open")
            Menu(self._more, t("Chat options"), options)
        self.show_more(False)

    def show_more(self, is_stored: bool) -> None:
        """Show the menu of the open conversation, or nothing if there is none."""
        self._more.set_visibility(is_stored)

    def show(self, models: Mapping[str, Phase], current: str | None) -> None:
        """Show the chosen model and the alternatives."""
        self._picker.show(models, current)
