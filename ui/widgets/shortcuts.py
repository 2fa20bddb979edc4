"""Keyboard shortcuts, listed on `?`; page.js handles the global ones.

On a Mac, Option with a letter writes a character, so the shortcuts take Control as well.
"""

import re

from nicegui import ui

from ui.i18n import t
from ui.widgets.elements import button, dialog, tag, text_element


def shortcuts() -> list[tuple[str, str]]:
    """Return each shortcut and its effect, with the key names of the reader's platform."""
    alt = "Control + Option" if _is_mac() else "Alt"
    return [
        ("Enter", t("Send message")),
        ("Shift + Enter", t("New line")),
        ("Esc", t("Stop the answer, or close the dialog")),
        (f"{alt} + N", t("New chat")),
        (f"{alt} + K", t("Search conversations")),
        (f"{alt} + V", t("Compare two models")),
        (f"{alt} + C", t("Copy the last answer")),
        (f"{alt} + R", t("Regenerate the last answer")),
        ("/", t("Focus the message field")),
        ("?", t("Show keyboard shortcuts")),
    ]


def show_shortcuts() -> None:
    """Show the list, until the reader closes it."""
    with dialog(t("Keyboard shortcuts")) as listed, tag("div", "card"):
        text_element("h2", t("Keyboard shortcuts"), "card-title")
        with tag("dl", "keys").mark("shortcuts"):
            for keys, does in shortcuts():
                _keys(keys)
                text_element("dd", does)
        with tag("div", "card-actions"):
            button(t("Close"), listed.close, "quiet")
    listed.on("hide", listed.delete)
    listed.open()


def _keys(keys: str) -> None:
    with tag("dt"):
        for at, key in enumerate(keys.split(" + ")):
            if at:
                text_element("span", "+")
            text_element("kbd", key)


def _is_mac() -> bool:
    request = ui.context.client.request
    return re.search("Macintosh|iPhone|iPad", request.headers.get("user-agent", "")) is not None
