"""Markdown as it is read: whole, or growing while it is written."""

from nicegui import ui

from ui.blocks import GrowingMarkdown
from ui.markdown import render
from ui.parts import attribute, tag


def show_prose(text: str) -> None:
    """Show a whole text."""
    with tag("div", "prose"):
        _html(render(text))


class GrowingProse:
    """A text that grows: only its last block is sent again.

    A screen reader says each block once it is whole, not every word that comes: what is
    added to the region is announced, but for the tail, whose changes are not.
    """

    def __init__(self, *, is_announced: bool = False) -> None:
        self._growing = GrowingMarkdown()
        live = "polite" if is_announced else "off"
        self._root = tag("div", "prose", aria_live=live, aria_relevant="additions", aria_atomic="false")
        with self._root:
            self._tail = attribute(_html(""), aria_live="off")

    def show(self, text: str) -> None:
        """Show the whole text so far."""
        settled, tail = self._growing.feed(text)
        self._settle(settled)
        self._tail.set_content(tail)

    def end(self) -> None:
        """No more comes: the last block is settled as well."""
        last = self._tail.content
        self._tail.set_content("")
        self._settle(last)

    def _settle(self, html: str) -> None:
        if html:
            with self._root:
                _html(html)
            self._tail.move(target_index=-1)


def _html(html: str) -> ui.html:
    return ui.html(html).classes("piece")
