"""Markdown as it is read: whole, or growing while it is written."""

from nicegui import ui

from ui.blocks import GrowingMarkdown
from ui.markdown import render
from ui.parts import tag


def show_prose(text: str) -> None:
    """Show a whole text."""
    with tag("div", "prose"):
        _html(render(text))


class GrowingProse:
    """A text that grows: only its last block is sent again."""

    def __init__(self) -> None:
        self._growing = GrowingMarkdown()
        self._root = tag("div", "prose")
        with self._root:
            self._tail = _html("")

    def show(self, text: str) -> None:
        """Show the whole text so far."""
        settled, tail = self._growing.feed(text)
        if settled:
            with self._root:
                _html(settled)
            self._tail.move(target_index=-1)
        self._tail.set_content(tail)


def _html(html: str) -> ui.html:
    return ui.html(html).classes("piece")
