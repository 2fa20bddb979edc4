"""A short notification with an optional action, which disappears by itself."""

import asyncio
from collections.abc import Callable
from typing import Any

from nicegui import background_tasks, ui

from ui.widgets.elements import button, tag, text_element


class Toast:
    """One at a time: a new one replaces the last."""

    def __init__(self) -> None:
        self._root = tag("div", "toast", role="status").mark("toast")
        self._root.set_visibility(False)
        self._going: asyncio.Task[None] | None = None
        ui.context.client.on_delete(self._stay)

    def show(self, text: str, for_s: float, action: str = "", on_action: Callable[[], Any] | None = None) -> None:
        """Show `text`, and a button for `action`, for so many seconds."""
        self._stay()
        self._root.clear()
        with self._root:
            text_element("span", text, "toast-text")
            if on_action is not None:
                button(action, lambda: (self.hide(), on_action())[1], "small quiet").mark("toast-action")
        self._root.set_visibility(True)
        self._going = background_tasks.create(self._go(for_s), name="hide a toast")

    def hide(self) -> None:
        """Show nothing."""
        self._stay()
        self._root.set_visibility(False)

    async def _go(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._going = None
        self._root.set_visibility(False)

    def _stay(self) -> None:
        if self._going is not None:
            self._going.cancel()
            self._going = None
