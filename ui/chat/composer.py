"""The message field: Enter sends, Shift+Enter inserts a line break, Escape stops."""

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import events, ui

from ui.api.readiness import Phase
from ui.chat.attachments import Attachments
from ui.i18n import t
from ui.widgets.elements import attribute, icon_button, tag, text_element
from ui.widgets.fields import too_long

MAX_CHARS = 32_000

# Enter that ends an input method's composition does not send; on a phone Enter inserts a line break.
_ON_ENTER = """(event) => {
  if (event.shiftKey || event.isComposing || event.keyCode === 229 || matchMedia("(hover: none)").matches) return;
  event.preventDefault();
  emit(event.target.value);
}"""


class Composer:
    """The text field, and one button that sends or stops."""

    def __init__(
        self, on_send: Callable[[str], Awaitable[None]], on_stop: Callable[[], Any], files: Attachments
    ) -> None:
        self._on_send, self._files = on_send, files
        files.on_read = self._on_file_read
        self._phase: Phase = "ready"
        self._is_held = self._is_checking = False
        with tag("div", "composer"):
            icon_button("clip", t("Attach files"), files.pick).classes("quiet-icon")
            self.text = ui.textarea(placeholder=t("Ask anything")).props("borderless autogrow").mark("composer")
            attribute(self.text, aria_label=t("Your message"), rows="1", dir="auto")
            # files.js makes a file of what is pasted and does not fit.
            attribute(self.text, data_most=str(MAX_CHARS), data_pasted=t("Pasted text") + ".txt")
            self.text.on_value_change(self._show_hint)
            self.text.on("keydown.enter", self._enter, js_handler=_ON_ENTER)
            self._send = icon_button("send", t("Send"), lambda: self.submit(self.text.value or "")).mark("send")
            self._stop = icon_button("stop", t("Stop"), on_stop, act="stop").mark("stop")
        self._hint = attribute(text_element("div", hint(), "hint"), role="status")
        self.set_running(False)

    def set_running(self, is_running: bool) -> None:
        """Show the stop button while an answer is running, else the send button."""
        self._send.set_visibility(not is_running)
        self._stop.set_visibility(is_running)
        self._is_running = is_running

    def set_phase(self, phase: Phase) -> bool:
        """While the model is loading or a file is being read, a sent message is held until it can be sent.

        One that could not be loaded holds nothing: the message stays for another model.
        Returns whether a message was held that is to be sent now, by `send_held`.
        """
        self._phase = phase
        if phase == "failed" and self._is_held:
            self._refuse()
        elif phase != "failed" and not self._is_held:
            self._show_hint()
        return self._release()

    def _release(self) -> bool:
        """Release the held message if it can be sent now; return whether there was one."""
        if not self._is_held or self._phase != "ready" or self._files.are_coming:
            return False
        self._hold(False)
        return True

    async def _on_file_read(self, goes_along: bool) -> None:
        """Send the message that was held for its files, unless one of them failed."""
        if not goes_along:
            self._hold(False)
        elif self._release():
            await self.send_held()

    async def send_held(self) -> None:
        """Send the held message in its current form."""
        if (sending := self.submit(self.text.value or "")) is not None:
            await sending

    def clear(self) -> None:
        """Clear the text after sending."""
        self.text.value = ""
        self._files.clear()
        self.text.client.run_javascript("chatllm.forgetDraft()")

    def focus(self) -> None:
        """Focus the text, except on a phone, where the keyboard would cover the page."""
        self.text.client.run_javascript("chatllm.focusComposer()")

    def _enter(self, event: events.GenericEventArguments) -> Any:
        return self.submit(event.args if isinstance(event.args, str) else self.text.value or "")

    def submit(self, text: str) -> Any:
        """Send `text`, or hold it until the model is ready."""
        text = text.strip()
        if not (text or self._files.are_there or self._files.are_coming) or self._is_running:
            return None
        if too_long(text, MAX_CHARS):
            self.text.value = text
            return None
        if self._phase == "ready" and not self._files.are_coming:
            return self._send_if_it_fits(text)
        if self.text.value != text:
            self.text.value = text
        return self._refuse() if self._phase == "failed" else self._hold(not self._is_held)

    async def _send_if_it_fits(self, text: str) -> None:
        """Send `text`, unless it exceeds the model's limit: then everything stays, with a message."""
        if self._files.fault or self._is_checking:
            return
        self._is_checking = True
        try:
            fault = await self._files.fault_with(text)
        finally:
            self._is_checking = False
        if not fault:
            await self._on_send(self._files.within(text))
        elif not self.text.is_deleted:
            self._say(fault)

    def recount(self) -> None:
        """Check again whether the files fit: the model may have changed."""
        self._files.recount()

    def _refuse(self) -> None:
        self._hold(False)
        self._hint.text = t("This model could not be loaded. Choose another one. Your message has been kept.")

    def _hold(self, is_held: bool) -> None:
        self._is_held = is_held
        self._show_hint()

    def _show_hint(self) -> None:
        fault = too_long((self.text.value or "").strip(), MAX_CHARS)
        if fault:
            return self._say(f"{fault} {file_hint()}")
        self._hint.text = self._held_hint() if self._is_held else hint()
        self._hint.classes(remove="held fault", add="held" if self._is_held else "")
        return None

    def _held_hint(self) -> str:
        if self._phase == "ready":
            return t("Your message will be sent once its files have been read · Press Enter again to cancel")
        return t("Your message will be sent once the model is ready · Press Enter again to cancel")

    def _say(self, fault: str) -> None:
        self._hint.text = fault
        self._hint.classes(remove="held", add="fault")


def hint() -> str:
    """Return the text below the composer."""
    return t("Enter to send · Shift + Enter for a new line · Answers may be incorrect")


def file_hint() -> str:
    """Return advice for a message that is too long."""
    return t("Attach long text as a file.")
