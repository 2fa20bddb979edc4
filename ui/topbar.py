"""The bar above the transcript: which model answers, and the page's own switches."""

from collections.abc import Callable
from typing import Any

from ui.parts import attribute, icon_button, tag
from ui.picker import Picker
from ui.shortcuts import show_shortcuts
from ui.texts import t


class TopBar:
    """The model picker, and the way to everything that is not a conversation."""

    def __init__(self, on_pick: Callable[[str], Any], on_new: Callable[[], Any], on_tune: Callable[[], Any]) -> None:
        with tag("header", "topbar"):
            icon_button("menu", t("Show the conversations"), act="drawer-open").classes("phone-only")
            self._picker = Picker(on_pick, t("Model"))
            tag("div", "gap")
            compare = tag("a", "icon-button icon-compare", aria_label=t("Compare two models")).mark("compare")
            attribute(compare, href="/compare", title=t("Compare two models"))
            icon_button("tune", t("Chat settings"), on_tune).mark("tune")
            keys = icon_button("keys", t("Keyboard shortcuts"), show_shortcuts).mark("keys")
            keys.classes("desk-only")
            icon_button("theme", t("Light or dark"), act="theme").mark("theme")
            icon_button("new", t("New chat"), on_new).classes("phone-only")

    def show(self, models: list[str], current: str | None) -> None:
        """Show the model that answers, and the others to choose from."""
        self._picker.show(models, current)
