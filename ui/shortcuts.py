"""The keys that do something, listed on `?`; page.js listens for those that work everywhere."""

from ui.parts import button, dialog, tag, words
from ui.texts import t


def shortcuts() -> list[tuple[str, str]]:
    """Return each combination of keys and what it does."""
    return [
        ("Enter", t("Send the message")),
        ("Shift + Enter", t("Begin a new line")),
        ("Esc", t("Stop the answer, or close what is open")),
        ("Alt + N", t("New chat")),
        ("Alt + K", t("Search your conversations")),
        ("Alt + V", t("Compare two models")),
        ("Alt + C", t("Copy the last answer")),
        ("Alt + R", t("Answer the last question again")),
        ("/", t("Go to the message field")),
        ("?", t("Show this list")),
    ]


def show_shortcuts() -> None:
    """Show the list, until the reader closes it."""
    with dialog(t("Keyboard shortcuts")) as listed, tag("div", "card"):
        words("h2", t("Keyboard shortcuts"), "card-title")
        with tag("dl", "keys").mark("shortcuts"):
            for keys, does in shortcuts():
                with tag("dt"):
                    for at, key in enumerate(keys.split(" + ")):
                        if at:
                            words("span", "+")
                        words("kbd", key)
                words("dd", does)
        with tag("div", "card-actions"):
            button(t("Close"), listed.close, "quiet")
    listed.on("hide", listed.delete)
    listed.open()
