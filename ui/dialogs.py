"""Cards that ask the reader for something."""

from nicegui import ui

from ui.parts import attribute, button, dialog, form, submit_button, tag, words
from ui.texts import t

MAX_TITLE_CHARS = 120


async def ask_title(current: str) -> str | None:
    """Return the new title of a conversation; None if it keeps its own."""
    with dialog(t("Rename this conversation")) as asked, tag("div", "card"):
        words("h2", t("Rename this conversation"), "card-title")
        with form(lambda: asked.submit(True) if (title.value or "").strip() else None).mark("renaming"):
            with tag("label", "field"):
                title = ui.input(value=current).props("borderless autofocus").mark("title")
            attribute(title, maxlength=str(MAX_TITLE_CHARS), aria_label=t("Title"), required="", dir="auto")
            with tag("div", "card-actions"):
                button(t("Cancel"), lambda: asked.submit(None), "quiet")
                submit_button(t("Save")).mark("save-title")
    try:
        if not await asked:
            return None
        named = " ".join((title.value or "").split())[:MAX_TITLE_CHARS]
        return named if named and named != current else None
    finally:
        if not asked.is_deleted:
            asked.delete()
