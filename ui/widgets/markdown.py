"""Rendered Markdown, complete or streaming."""

from nicegui import background_tasks, ui

from ui.markdown.plain_text import plain_text
from ui.markdown.pool import IncrementalMarkdown, Renderer
from ui.widgets.elements import attribute, tag


def show_markdown(text: str, renderer: Renderer) -> None:
    """Show a complete text; as plain text until it has been rendered."""
    html = renderer.known(text)
    with tag("div", "markdown") as root:
        shown = _html(plain_text(text) if html is None else html)

    async def fill() -> None:
        with shown:  # for the language of its page
            rendered = await renderer.render(text)
        if not shown.is_deleted:
            shown.set_content(rendered)
            attribute(root, aria_busy="false").update()

    if html is None:
        attribute(root, aria_busy="true")
        background_tasks.create(fill(), name="render a text")


class MarkdownStream:
    """A streaming text: only its last block is sent again.

    A screen reader announces complete blocks, not every word: what is
    added to the region is announced, except the tail.
    """

    def __init__(self, renderer: Renderer, *, is_announced: bool = False) -> None:
        self._stream = IncrementalMarkdown(renderer)
        live = "polite" if is_announced else "off"
        self._root = tag("div", "markdown", aria_live=live, aria_relevant="additions", aria_atomic="false")
        with self._root:
            self._tail = attribute(_html(""), aria_live="off")

    async def show(self, text: str) -> None:
        """Show the whole text so far."""
        grown = await self._stream.feed(text)
        if not self._root.is_deleted:
            self._settle(grown.settled)
            self._tail.set_content(grown.tail)

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
