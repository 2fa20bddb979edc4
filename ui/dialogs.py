"""A question to the reader that must be answered before anything happens."""

from nicegui import ui

from ui.client import Conversation
from ui.parts import button, tag, words
from ui.texts import t


async def confirm_delete(conversation: Conversation) -> bool:
    """Ask whether the conversation shall really go."""
    with ui.dialog() as dialog, tag("div", "card", role="alertdialog", aria_label=t("Delete this conversation?")):
        words("h2", t("Delete this conversation?"), "card-title")
        title = conversation.title or t("New chat")
        words("p", t("“{title}” will be gone for good.", title=title), "card-text")
        with tag("div", "card-actions"):
            button(t("Keep it"), lambda: dialog.submit(False), "quiet")
            button(t("Delete"), lambda: dialog.submit(True), "danger").mark("confirm-delete")
    try:
        return bool(await dialog)
    finally:
        if not dialog.is_deleted:
            dialog.delete()
