"""The key that /ops uses: the signed-in visitor's, or one that is entered and kept by this page only."""

from collections.abc import Awaitable, Callable

from nicegui import events, ui

from ui.i18n import t
from ui.widgets.elements import attribute, button, submit_button, tag, text_element

MAX_KEY_CHARS = 200

# The key goes with the event: what is typed while the page still connects is told later than what happens right after,
# and a password manager fills the form and submits it in one go.
_ON_SUBMIT = """(event) => {
  event.preventDefault();
  emit(event.target.querySelector("input").value);
}"""


class AskForKey:
    """A form for an administrator's key, which is sent only to this process and forgotten with the page."""

    def __init__(self, on_key: Callable[[str], Awaitable[str]]) -> None:
        """`on_key` tries a key and returns the reason for a rejection, or ""."""
        self._on_key = on_key
        self._is_trying = False
        with tag("form", "card ops-access").mark("access") as self.root:
            text_element("h1", t("Operations"), "card-title")
            text_element(
                "p", t("This page is for administrators and requires an administrator's API key."), "card-text"
            )
            with tag("label", "field"):
                text_element("span", t("API key"), "field-name")
                self._key = ui.input(password=True).props("borderless autofocus").mark("admin-key")
            attribute(self._key, autocomplete="off", aria_label=t("API key"))
            self._notice = text_element("p", "", "access-notice").mark("access-notice")
            attribute(self._notice, role="alert")
            with tag("div", "card-actions"):
                attribute(text_element("a", t("Back to the chat"), "button quiet"), href="/")
                self._open = submit_button(t("Open")).mark("open-ops")
            with tag("p", "access-hint"):
                text_element("span", t("To create one, run this command on the machine that runs the service:"))
                text_element("code", "chatllm keys create NAME --admin")
        self.root.on("submit", self._try, js_handler=_ON_SUBMIT)

    async def _try(self, event: events.GenericEventArguments) -> None:
        typed = event.args if isinstance(event.args, str) else self._key.value
        key = str(typed or "").strip()
        if not key or self._is_trying:
            return
        if len(key) > MAX_KEY_CHARS:
            self._notice.text = t("This key is unknown or no longer valid.")
            return
        self._is_trying = True
        self._notice.text = ""
        attribute(self._open, disabled="true")
        try:
            problem = await self._on_key(key)
        finally:
            self._is_trying = False
        if not self.root.is_deleted:
            self._open.props.pop("disabled", None)
            self._key.value = ""
            self._notice.text = problem


def show_refusal(on_other_key: Callable[[], object] | None) -> None:
    """Show that access is denied, and what can be done about it."""
    with tag("div", "card ops-access").mark("refused"):
        text_element("h1", t("For administrators only"), "card-title")
        text_element("p", t("Your API key is valid but does not belong to an administrator."), "card-text")
        text_element("p", t("The operator of the service can issue or change your key."), "card-text")
        with tag("div", "card-actions"):
            attribute(text_element("a", t("Back to the chat"), "button quiet"), href="/")
            if on_other_key is not None:
                button(t("Use another key"), on_other_key).mark("other-key")
