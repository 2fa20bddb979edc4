"""Search over the conversations, with the text around each match."""

from collections.abc import Callable
from functools import partial
from typing import Any

from nicegui import background_tasks, ui

from ui.api.client import Api
from ui.api.errors import ApiError, explain
from ui.api.schema import Found
from ui.i18n import t
from ui.widgets.elements import attribute, tag, text_element
from ui.widgets.fields import too_long

WAIT_S = 0.2
MAX_CHARS = 200
_ON_FOUND = "() => { chatllm.closeDrawer(); emit(); }"


class Search:
    """A field, and what was found in place of the list while something stands in it."""

    def __init__(self, api: Api, on_open: Callable[[str], Any], on_active: Callable[[bool], None]) -> None:
        self._api, self._on_open, self._on_active = api, on_open, on_active
        self._typed = ""
        with tag("label", "search"):
            text_element("span", t("Search"), "unseen")
            self._field = ui.input(placeholder=t("Search"), on_change=self._changed).props("borderless clearable")
            attribute(self._field.mark("search"), aria_label=t("Search conversations"), type="search", dir="auto")
            attribute(self._field, debounce=str(int(WAIT_S * 1000)))
        self._results = tag("div", "conversations results", aria_live="polite").mark("results")
        self._results.set_visibility(False)

    def _changed(self) -> None:
        self._typed = typed = (self._field.value or "").strip()
        self._results.set_visibility(bool(typed))
        self._on_active(bool(typed))
        if typed:
            background_tasks.create(self._search(typed), name="search")

    async def _search(self, typed: str) -> None:
        found: list[Found] = []
        note = too_long(typed, MAX_CHARS)
        try:
            found = [] if note else await self._api.search(typed)
            note = note or ("" if found else t("No results."))
        except ApiError as error:
            note = explain(error).title
        if typed != self._typed:
            return  # the reader has typed on
        self._results.clear()
        with self._results:
            for match in found:
                self._row(match)
            if note:
                text_element("p", note, "sidebar-note")

    def _row(self, match: Found) -> None:
        title = match.conversation.title or t("New chat")
        row = attribute(tag("button", "found"), type="button").mark(f"found-{match.conversation.id}")
        with row:
            attribute(text_element("span", title, "found-title"), dir="auto")
            with tag("span", "found-text", dir="auto"):
                for piece in match.snippet:
                    text_element("mark" if piece.match else "span", piece.text, "found-match" if piece.match else "")
        row.on("click", partial(self._on_open, match.conversation.id), args=[], js_handler=_ON_FOUND)
