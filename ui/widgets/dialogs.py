"""Dialogs that ask the reader for input."""

from ui.i18n import t
from ui.widgets.elements import attribute, button, dialog, form, submit_button, tag, text_element
from ui.widgets.fields import LineField, are_right

MAX_TITLE_CHARS = 120


async def ask_title(current: str) -> str | None:
    """Return the new title of a conversation; None if it keeps its own."""
    with dialog(t("Rename conversation")) as opened, tag("div", "card"):
        text_element("h2", t("Rename conversation"), "card-title")
        with form(lambda: opened.submit(True) if title.line and are_right([title]) else None).mark("renaming"):
            title = LineField(t("Title"), MAX_TITLE_CHARS, current, "title")
            attribute(title.input, required="")
            with tag("div", "card-actions"):
                button(t("Cancel"), lambda: opened.submit(None), "quiet")
                submit_button(t("Save")).mark("save-title")
    try:
        if not await opened:
            return None
        return title.line if title.line != current else None
    finally:
        if not opened.is_deleted:
            opened.delete()
