"""The reader's message, exactly as written; it can be edited."""

from dataclasses import replace

from nicegui import ui

from ui.chat.composer import MAX_CHARS
from ui.chat.message_actions import Actions
from ui.chat.version_pager import Pager
from ui.files.message import pieces
from ui.i18n import t
from ui.state.thread import Turn
from ui.widgets.elements import attribute, button, copy_button, icon_button, tag, text_element
from ui.widgets.fields import too_long

# Escape only closes the editor, unless it cancels an input method's composition.
_ON_ESCAPE = """(event) => {
  if (event.isComposing || event.keyCode === 229) return;
  event.stopPropagation();
  emit();
}"""


class QuestionView:
    """One question; `number` is its position in the transcript."""

    def __init__(self, turn: Turn, number: int, actions: Actions) -> None:
        self._turn, self._number, self._actions = turn, number, actions
        self.root = tag("div", "turn question")
        with self.root:
            self._message = tag("div", "question-body")
            with self._message:
                show_message(turn.text)
                with tag("div", "tools"):
                    self._pager = Pager(number, actions.walk)
                    copy_button(t("Copy question"), lambda: pieces(self._turn.text).readable)
                    icon_button("new", t("Edit question"), self._edit).mark(f"edit-{number}")
            self._editor = tag("div", "editor")
        self._editor.set_visibility(False)
        self._pager.show(turn.versions, turn.version)

    def takes(self, turn: Turn) -> bool:
        """Reuse this view for `turn` if it looks the same; return whether it does."""
        if (turn.role, turn.text) != (self._turn.role, self._turn.text):
            return False
        if self._turn.id and turn.id != self._turn.id:
            return False
        self._turn = turn
        self._pager.show(turn.versions, turn.version)
        return True

    def _edit(self) -> None:
        self._message.set_visibility(False)
        self._editor.set_visibility(True)
        self._editor.clear()
        with self._editor:
            text = ui.textarea(value=pieces(self._turn.text).text).props("borderless autogrow")
            text.mark(f"editor-{self._number}")
            fault = text_element("div", "", "field-fault")
            attribute(fault, id=f"fault-{text.id}", role="alert")
            attribute(text, aria_label=t("Your message"), dir="auto", rows="1", aria_describedby=f"fault-{text.id}")
            text.on_value_change(lambda: fault.set_text(too_long((text.value or "").strip(), MAX_CHARS)))
            text.on("keydown.escape", self._close, args=[], js_handler=_ON_ESCAPE)
            with tag("div", "editor-actions"):
                button(t("Cancel"), self._close, "small quiet").mark(f"cancel-{self._number}")
                sent = button(t("Send again"), lambda: self._send(text.value or ""), "small")
                sent.mark(f"resend-{self._number}")
        ui.run_javascript("chatllm.focusEditor()")

    def _close(self) -> None:
        self._editor.set_visibility(False)
        self._message.set_visibility(True)

    def _send(self, text: str) -> object:
        text = text.strip()
        if too_long(text, MAX_CHARS):
            return None  # the editor says so
        message = replace(pieces(self._turn.text), text=text).message
        self._close()
        return self._actions.edit(self._turn, message) if message else None


def show_message(message: str) -> None:
    """Show a message in its pieces."""
    content = pieces(message)
    if content.images:
        with tag("div", "question-images"):
            for address in content.images:
                tag("img", "question-image", src=address, alt=t("Image"))
    if content.text or not (content.files or content.images):
        attribute(text_element("div", content.text, "bubble"), dir="auto")
    for file in content.files:
        with tag("details", "question-file"):
            attribute(text_element("summary", file.name), dir="auto")
            attribute(text_element("pre", file.text), dir="auto")
