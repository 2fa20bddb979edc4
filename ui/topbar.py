"""The bar above the transcript: which model answers, and the page's own switches."""

from collections.abc import Callable
from functools import partial
from typing import Any

from nicegui import ui

from ui.parts import attribute, icon_button, tag, words
from ui.shortcuts import show_shortcuts
from ui.texts import t


class TopBar:
    """The model picker; a menu only where there is something to pick."""

    def __init__(self, on_pick: Callable[[str], Any], on_new: Callable[[], Any], on_tune: Callable[[], Any]) -> None:
        self._on_pick = on_pick
        self._drawn: tuple[tuple[str, ...], str | None] | None = None
        with tag("header", "topbar"):
            icon_button("menu", t("Show the conversations"), act="drawer-open").classes("phone-only")
            self._picker = tag("div", "picker")
            tag("div", "gap")
            icon_button("tune", t("How this chat is answered"), on_tune).mark("tune")
            keys = icon_button("keys", t("Keyboard shortcuts"), show_shortcuts).mark("keys")
            keys.classes("desk-only")
            icon_button("theme", t("Light or dark"), act="theme").mark("theme")
            icon_button("new", t("New chat"), on_new).classes("phone-only")

    def show(self, models: list[str], current: str | None) -> None:
        """Show the model that answers, and the others to choose from."""
        if self._drawn == (drawn := (tuple(models), current)):
            return
        self._drawn = drawn
        self._picker.clear()
        with self._picker:
            if len(models) < 2:
                words("div", current or "", "model")
                return
            choice = attribute(words("button", current or "", "model choice").mark("picker"), aria_label=t("Model"))
            with choice, ui.menu().props("auto-close no-focus fit").classes("menu"):
                for model in models:
                    option = words("button", model, "option current" if model == current else "option")
                    option.on("click", partial(self._on_pick, model), args=[]).mark(f"model-{model}")
