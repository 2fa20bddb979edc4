"""Basic elements: semantic tags, buttons, and icons without Quasar's styles."""

from collections.abc import Callable
from typing import Any, TypeVar

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from ui.i18n import t

Made = TypeVar("Made", bound=ui.element)


def tag(name: str, classes: str = "", **attributes: str) -> ui.element:
    """Return an element of that HTML name, to be filled with `with`."""
    return attribute(ui.element(name).classes(classes), **attributes)


def text_element(name: str, text: str, classes: str = "") -> TextElement:
    """Return an element that shows `text`, escaped."""
    return TextElement(tag=name, text=text).classes(classes)


def button(label: str, on_click: Callable[..., Any] | None = None, classes: str = "") -> TextElement:
    """Return a button with its label."""
    made = TextElement(tag="button", text=label).classes(f"button {classes}")
    attribute(made, type="button")
    return made.on("click", on_click, args=[]) if on_click else made


def form(on_submit: Callable[[], Any], classes: str = "") -> ui.element:
    """Return a form, to be filled with fields and a `submit_button`.

    Enter in a field submits it: the browser knows the Enter of an input method, which does not.
    """
    return tag("form", classes).on("submit.prevent", on_submit, args=[])


def submit_button(label: str, classes: str = "") -> TextElement:
    """Return the button that submits the form around it."""
    return attribute(button(label, classes=classes), type="submit")


def dialog(label: str) -> ui.dialog:
    """Return a dialog, to be filled with a card; Quasar's own element has the role, and so takes the name.

    The card is a `div`: a child of another name gets no clicks from Quasar's style sheet, and the dialog closes.
    """
    return attribute(ui.dialog(), aria_label=label)


def icon_button(icon: str, label: str, on_click: Callable[..., Any] | None = None, act: str = "") -> ui.element:
    """Return a button that shows an icon of icons.css; `label` is its name for everyone who cannot see it.

    `act` names what page.js does on a click, without a way to the server.
    """
    made = tag("button", f"icon-button icon-{icon}", type="button", aria_label=label, title=label)
    if act:
        attribute(made, data_act=act)
    return made.on("click", on_click, args=[]) if on_click else made


def copy_button(label: str, text: Callable[[], str]) -> ui.element:
    """Return a button that copies the current result of `text` and confirms it."""
    made = attribute(icon_button("copy", label), data_said=t("Copied"), data_failed=t("Could not copy the text"))
    return made.on(
        "click", lambda: ui.run_javascript(f"chatllm.copy({literal(text())}, {literal(made.html_id)})"), args=[]
    )


def attribute(element: Made, **attributes: str) -> Made:
    """Set HTML attributes to any text (`props()` would parse it); `data_act` becomes `data-act`."""
    for name, value in attributes.items():
        element.props[name.strip("_").replace("_", "-")] = value
    return element


def literal(text: str) -> str:
    """Return `text` as a JavaScript string literal."""
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\u{{{ord(c):x}}}" for c in text) + '"'
