"""Where the reader writes: Enter sends, Shift+Enter begins a line, Escape stops."""

from collections.abc import Callable
from typing import Any

from nicegui import events, ui

from ui.attachments import Attachments
from ui.parts import attribute, icon_button, tag, words
from ui.readiness import Phase
from ui.texts import t

MAX_CHARS = 32_000

# A key that ends an input method's composition is not a sent message; on a phone Enter begins a line.
_ON_ENTER = """(event) => {
  if (event.shiftKey || event.isComposing || event.keyCode === 229 || matchMedia("(hover: none)").matches) return;
  event.preventDefault();
  emit(event.target.value);
}"""


class Composer:
    """The text, and one button that sends or stops."""

    def __init__(self, on_send: Callable[[str], Any], on_stop: Callable[[], Any], files: Attachments) -> None:
        self._on_send, self._files = on_send, files
        self._phase: Phase = "ready"
        self._is_held = False
        with tag("div", "composer"):
            icon_button("clip", t("Add files"), files.pick).classes("quiet-icon")
            self.text = ui.textarea(placeholder=t("Ask anything")).props("borderless autogrow").mark("composer")
            attribute(self.text, aria_label=t("Your message"), maxlength=str(MAX_CHARS), rows="1")
            attribute(self.text, dir="auto")
            self.text.on("keydown.enter", self._enter, js_handler=_ON_ENTER)
            self._send = icon_button("send", t("Send"), lambda: self.submit(self.text.value or "")).mark("send")
            self._stop = icon_button("stop", t("Stop"), on_stop, act="stop").mark("stop")
        self._hint = words("div", hint(), "hint")
        self.set_running(False)

    def set_running(self, is_running: bool) -> None:
        """Offer to stop while an answer is being written, else to send."""
        self._send.set_visibility(not is_running)
        self._stop.set_visibility(is_running)
        self._is_running = is_running

    def set_phase(self, phase: Phase) -> str:
        """While the model is loading, sending means to hold the message until it can answer.

        One that could not be loaded holds nothing: the message stays for another model.
        Returns the message that was held, for it is to be sent now; else nothing.
        """
        self._phase = phase
        if phase == "failed" and self._is_held:
            self._refuse()
        elif phase != "failed" and not self._is_held:
            self._hint.text = hint()
        if not (phase == "ready" and self._is_held):
            return ""
        self._hold(False)
        return self._files.within((self.text.value or "").strip()[:MAX_CHARS])

    def clear(self) -> None:
        """Empty the text, once it has been sent."""
        self.text.value = ""
        self._files.clear()
        self.text.client.run_javascript("chatllm.forgetDraft()")

    def focus(self) -> None:
        """Put the cursor into the text, but on a phone, where the keyboard would cover the page."""
        self.text.client.run_javascript("chatllm.focusComposer()")

    def _enter(self, event: events.GenericEventArguments) -> Any:
        return self.submit(event.args if isinstance(event.args, str) else self.text.value or "")

    def submit(self, text: str) -> Any:
        """Send `text`, or hold it until the model is ready."""
        text = text.strip()[:MAX_CHARS]
        if not (text or self._files.are_there) or self._is_running or self._files.are_coming:
            return None
        if self._phase == "ready":
            return self._on_send(self._files.within(text))
        if self.text.value != text:
            self.text.value = text
        return self._refuse() if self._phase == "failed" else self._hold(not self._is_held)

    def _refuse(self) -> None:
        self._hold(False)
        self._hint.text = t("This model could not be loaded. Choose another one: your message stays here.")

    def _hold(self, is_held: bool) -> None:
        self._is_held = is_held
        self._hint.text = held_hint() if is_held else hint()
        self._hint.classes(toggle="held")


def hint() -> str:
    """Return what stands below the composer."""
    return t("Enter sends · Shift + Enter starts a new line · answers can be wrong")


def held_hint() -> str:
    """Return what stands there while a message waits for the model."""
    return t("Your message is sent as soon as the model is ready · Enter again keeps it here")
